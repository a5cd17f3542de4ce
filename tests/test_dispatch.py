"""The one mechanism behind `@accelerated`: definitions, siblings found by file name, and the three modes."""

import copy
import importlib
import pickle
import sys
import threading
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

from minicnn import dispatch, ops
from minicnn.dispatch import using

DEFINITION = '''
from minicnn.dispatch import accelerated

@accelerated({kinds})
def forward(x, y=None, *, scale=2):
    """The definition."""
    return "definition", scale

@accelerated({kinds})
def backward(dy, cache):
    return "definition back"

@accelerated()
def plain(x):
    return "plain"
'''
SIBLING = """
import {package}.op  # a kernel may import its definition

def forward(x, y=None, *, scale=2):
    return NotImplemented if getattr(x, "dtype", None) == "float64" else ("{kind}", scale)

def backward(dy, cache):
    return "{kind} back"
"""


class DeviceArray:
    dtype, shape = np.dtype("float32"), (2, 3)


DeviceArray.__module__ = "cupy._core.core"
F32, F64, DEVICE = np.ones((2, 3), "float32"), np.ones((2, 3)), DeviceArray()


class Cache(NamedTuple):
    x: object
    eps: float


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(kinds, siblings) -> the module of a definition that promises kinds, with those siblings beside it."""
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))  # whoever has a device array has loaded it
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(dispatch, "OPS", [])
    names = set(sys.modules)

    def build(kinds=("numba", "cuda"), siblings=("numba", "cuda")):
        package = f"pkg{len(list(tmp_path.iterdir()))}"
        (folder := tmp_path / package).mkdir()
        (folder / "__init__.py").touch()
        (folder / "op.py").write_text(DEFINITION.format(kinds=", ".join(map(repr, kinds))))
        for kind in siblings:
            (folder / f"op_{kind}.py").write_text(SIBLING.format(package=package, kind=kind))
        importlib.invalidate_caches()
        return importlib.import_module(f"{package}.op")

    yield build
    for name in set(sys.modules) - names:
        if name.startswith("pkg"):
            del sys.modules[name]


RUNS = [
    # mode, promised kinds, argument, what runs
    ("fast", ("numba", "cuda"), F32, "numba"),
    ("fast", ("numba", "cuda"), DEVICE, "cuda"),
    ("fast", ("numba", "cuda"), F64, "definition"),  # declined
    ("fast", ("cuda",), F32, "definition"),
    ("fast", ("numba",), DEVICE, "definition"),
    ("fast", (), F32, "definition"),
    ("reference", ("numba", "cuda"), F32, "definition"),
    ("reference", ("numba", "cuda"), DEVICE, "definition"),
    ("reference", (), F32, "definition"),
    ("strict", ("numba", "cuda"), F32, "numba"),
    ("strict", ("numba", "cuda"), DEVICE, "cuda"),
    ("strict", ("cuda",), F32, "definition"),  # nothing was promised for host arrays
    ("strict", (), F64, "definition"),
]


@pytest.mark.parametrize(("mode", "kinds", "x", "ran"), RUNS)
def test_what_runs(make, mode, kinds, x, ran):
    op = make(kinds)
    with using(mode):
        assert op.forward(x, scale=3) == (ran, 3)
        assert op.forward(x, None) == (ran, 2)


def test_fast_is_the_default(make):
    assert make().forward(F32) == ("numba", 2)


WHERE = [
    (("forward", (1.0, DEVICE), {}), "cuda"),
    (("forward", (), {"x": DEVICE}), "cuda"),
    (("forward", (), {"x": F32}), "numba"),
    (("backward", (1.0, Cache(DEVICE, 0.1)), {}), "cuda back"),  # a loss goes back from the number 1
    (("backward", (1.0, Cache(F32, 0.1)), {}), "numba back"),
    (("backward", (1.0, Cache((F32, DEVICE), 0.1)), {}), "cuda back"),  # a Cache in a Cache, as fused ops have
    (("backward", (1.0, Cache((F32, None), 0.1)), {}), "numba back"),
    (("backward", (), {"dy": 1.0, "cache": Cache(DEVICE, 0.1)}), "cuda back"),
]


@pytest.mark.parametrize(("call", "ran"), WHERE)
def test_any_argument_and_any_part_of_a_cache_tells_the_device(make, call, ran):
    name, args, kwargs = call
    result = getattr(make(), name)(*args, **kwargs)
    assert ran in (result, result[0])


def test_a_sibling_is_imported_at_the_first_call_and_not_before(make):
    op = make()
    siblings = [f"{op.__name__}_numba", f"{op.__name__}_cuda"]
    assert not any(name in sys.modules for name in siblings)
    with using("reference"):
        op.forward(F32)
    assert not any(name in sys.modules for name in siblings)
    op.forward(F32)
    assert [name in sys.modules for name in siblings] == [True, False]


@pytest.mark.parametrize("mode", ["fast", "strict"])
def test_a_promised_sibling_that_is_missing_is_an_error(make, mode):
    op = make(siblings=())
    with using(mode), pytest.raises(ModuleNotFoundError, match=rf"No module named '{op.__name__}_numba'"):
        op.forward(F32)
    with using("reference"):
        assert op.forward(F32) == ("definition", 2)


def test_a_sibling_without_the_function_is_an_error(make):
    op = make()
    op.forward(F32)
    del sys.modules[f"{op.__name__}_cuda".replace("cuda", "numba")].backward
    with pytest.raises(AttributeError, match="backward"):
        op.backward(F32, None)


DECLINED = [
    ((F64,), {}, r"op\.forward: the numba kernel declined float64 \(2, 3\); kernels take float32"),
    ((F64, 1.0), {}, r"declined float64 \(2, 3\), float; kernels"),
    ((), {"x": F64, "scale": 2}, r"declined float64 \(2, 3\), int; kernels"),
]


@pytest.mark.parametrize(("args", "kwargs", "message"), DECLINED)
def test_strict_names_what_was_declined(make, args, kwargs, message):
    op = make()
    with using("strict"), pytest.raises(RuntimeError, match=message):
        op.forward(*args, **kwargs)


def test_using_nests_and_is_restored_after_an_exception(make):
    op = make()

    def ran():
        return op.forward(F32)[0]

    with using("reference"):
        with using("fast"):
            assert ran() == "numba"
            with pytest.raises(KeyError), using("reference"):
                raise KeyError
            assert ran() == "numba"
        assert ran() == "definition"
    assert ran() == "numba"


def test_using_is_per_thread(make):
    op, seen = make(), []
    inside, seen_outside = threading.Event(), threading.Event()

    def other():
        seen.append(op.forward(F32)[0])
        with using("strict"):
            inside.set()
            seen_outside.wait(10)
            seen.append(dispatch._mode.get())

    with using("reference"):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        assert op.forward(F32)[0] == "definition"
        seen_outside.set()
        thread.join()
    assert seen == ["numba", "strict"]


@pytest.mark.parametrize("mode", ["slow", "", "FAST", None])
def test_unknown_modes(mode):
    with pytest.raises(ValueError, match=rf"using: mode {mode!r} is none of fast, reference, strict"):
        using(mode).__enter__()


def test_an_op_is_its_definition_to_the_eye(make):
    op = make()
    assert op.forward.__doc__ == "The definition."
    assert (op.forward.__name__, op.forward.__module__) == ("forward", op.__name__)
    assert repr(op.forward) == "<op op.forward, kernels: numba, cuda>"
    assert repr(op.plain) == "<op op.plain, kernels: none>"
    assert [o.name for o in dispatch.OPS] == ["op.forward", "op.backward", "op.plain"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda op: pickle.loads(pickle.dumps(op))])
def test_an_op_is_copied_and_pickled_by_reference(copied):
    assert copied(ops.linear.forward) is ops.linear.forward
    assert copied(ops.conv2d.backward) is ops.conv2d.backward


def test_siblings_of_two_ops_are_not_mixed_up(make):
    one, two = make(), make(kinds=("numba",), siblings=("numba",))
    assert one.forward.sibling("numba") is not two.forward.sibling("numba")
    assert one.forward.sibling("numba") is one.forward.sibling("numba")
    assert one.forward.sibling("numba") is not one.backward.sibling("numba")
