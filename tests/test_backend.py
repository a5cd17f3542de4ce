"""Which library an array belongs to, told by its type alone; moving; and that CuPy stays out until it is asked for."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import scipy.special

from minicnn import backend


class DeviceArray:
    """What backend knows of a CuPy array: the name of its type's package, and get()."""

    dtype, shape = np.dtype("float32"), (2, 3)

    def get(self):
        return np.full((2, 3), 7.0, "float32")


DeviceArray.__module__ = "cupy._core.core"


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy with two devices: to_device notes which one was current."""
    used = []

    class Device:
        def __init__(self, index):
            self.index = index

        def __enter__(self):
            used.append(self.index)

        def __exit__(self, *error):
            used.append(None)

    fake = ModuleType("cupy")
    fake.__version__, fake.used = "0.0", used
    fake.is_available = lambda: True
    fake.cuda = SimpleNamespace(Device=Device)
    fake.asarray = lambda x: ("moved", x, used[-1])
    special = ModuleType("cupyx.scipy.special")
    for name, module in {
        "cupy": fake,
        "cupyx": ModuleType("cupyx"),
        "cupyx.scipy": ModuleType("cupyx.scipy"),
        "cupyx.scipy.special": special,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    fake.special = special
    return fake


HOST = [np.zeros(3), np.float32(1), np.array(1), np.ma.zeros(2), np.zeros((0, 2), int)]
NOT_ARRAYS = [[1.0], 1.0, None, "image", object()]


@pytest.mark.parametrize("x", HOST, ids=str)
def test_host_arrays(x):
    assert backend.array_module(x) is np
    assert backend.special_module(x) is scipy.special
    assert backend.kind(x) == "numba"
    assert backend.is_array(x)
    assert np.array_equal(backend.to_host(x), x)


def test_to_host_gives_a_host_array_itself():
    x = np.zeros(3)
    assert backend.to_host(x) is x
    assert backend.to_device(x, "cpu") is x


@pytest.mark.parametrize("x", NOT_ARRAYS, ids=str)
def test_what_is_no_array(x):
    assert not backend.is_array(x)
    assert backend.kind(x) == "numba"
    with pytest.raises(TypeError, match=rf"expected a NumPy or CuPy array, got {type(x).__name__}: "):
        backend.array_module(x)


def test_the_message_shows_the_start_of_a_long_value():
    with pytest.raises(TypeError, match=r"got list: \[0, 0.*$") as caught:
        backend.array_module([0] * 1000)
    assert len(str(caught.value)) < 120


def test_device_arrays(cupy):
    x = DeviceArray()
    assert backend.array_module(x) is cupy
    assert backend.special_module(x) is cupy.special
    assert backend.kind(x) == "cuda"
    assert backend.is_array(x)
    assert not backend.host_only()
    assert np.array_equal(backend.to_host(x), np.full((2, 3), 7.0))
    assert np.array_equal(backend.to_device(x, "cpu"), np.full((2, 3), 7.0))


def test_where_no_library_for_devices_is_loaded_arrays_are_on_the_host(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert backend.host_only()


@pytest.mark.parametrize("module", ["cupyish", "my.cupy", "numpy.cupy"])
def test_only_the_package_itself_counts(module):
    like = type("ndarray", (), {"__module__": module})()
    assert backend.kind(like) == "numba"
    assert not backend.is_array(like)


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_to_a_device(cupy, device, index):
    x = np.ones(2)
    assert backend.to_device(x, device) == ("moved", x, index)
    assert cupy.used == [index, None], "the device is current inside the move alone"


@pytest.mark.parametrize("device", ["gpu", "cuda1", "cuda:one", "cuda:-1", "cpu:0", "", "CPU"])
def test_unknown_devices(device):
    with pytest.raises(ValueError, match=rf'device {device!r}: wanted "cpu", "cuda" or "cuda:<index>"'):
        backend.to_device(np.ones(2), device)


def test_cuda_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # what an import finds where it is not installed
    with pytest.raises(RuntimeError, match=r"device 'cuda' needs CuPy, which is not installed: pip install 'minicnn"):
        backend.to_device(np.ones(2), "cuda")


def test_cuda_without_a_gpu(cupy):
    cupy.is_available = lambda: False
    with pytest.raises(RuntimeError, match=r"device 'cuda:1': CuPy 0\.0 finds no GPU; see `minicnn doctor`"):
        backend.to_device(np.ones(2), "cuda:1")


def test_importing_minicnn_imports_no_cupy():
    code = "import sys, minicnn; assert minicnn.nn.Linear; sys.exit(any(m.startswith('cupy') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
