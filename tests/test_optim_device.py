"""The optimisers on a device: every one stays there, and none waits for it."""

import sys

import numpy as np
import pytest
from make_optim_golden import CASES, name_of, sequence

from minicnn import optim
from minicnn.nn.parameter import Parameter

every_case = pytest.mark.parametrize("case", CASES, ids=name_of)


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands in for cupy.ndarray where there is no GPU: refuses NumPy arrays and every look at a value."""

    def __init__(self, a):
        self.a = np.asarray(a)
        self.shape, self.dtype, self.size = self.a.shape, self.a.dtype, self.a.size

    def __array_ufunc__(self, ufunc, method, *args, **kwargs):
        if any(isinstance(x, (np.ndarray, np.generic)) for x in args):
            raise TypeError(f"{ufunc.__name__}: NumPy and device arrays were mixed")
        return DeviceArray(getattr(ufunc, method)(*(getattr(x, "a", x) for x in args), **kwargs))

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit copy to the host")

    def astype(self, dtype, copy=True):
        return DeviceArray(self.a.astype(dtype, copy=copy))

    def copy(self):
        return DeviceArray(self.a.copy())

    def sum(self):
        return DeviceArray(self.a.sum())

    def max(self):
        return DeviceArray(self.a.max())

    def __bool__(self):
        raise AssertionError("waited for the device")

    __float__ = __int__ = item = __bool__

    def get(self):
        return self.a.copy()


class DeviceLibrary:
    def __getattr__(self, name):
        def function(*args, **kwargs):
            unwrapped = [[x.a for x in a] if isinstance(a, list) else getattr(a, "a", a) for a in args]
            return DeviceArray(getattr(np, name)(*unwrapped, **kwargs))

        return function


@pytest.fixture
def device(monkeypatch):
    """A function that moves an array to what stands in for a GPU."""
    monkeypatch.setattr(DeviceArray, "__module__", "cupy")
    monkeypatch.setitem(sys.modules, "cupy", DeviceLibrary())
    return DeviceArray


@pytest.fixture
def gpu():
    cupy = pytest.importorskip("cupy")
    if not cupy.is_available():
        pytest.skip("no NVIDIA GPU")
    return cupy.asarray


def check_on(device, case):
    start, grads = sequence()
    there, here = [Parameter(device(a)) for a in start], [Parameter(a) for a in start]
    results, averages = [], []
    for params, array in ((there, device), (here, np.array)):
        optimizer, ema = getattr(optim, case[0])(params, **case[1]), optim.EMA(params, 0.5)
        for t, row in enumerate(grads):
            for p, g in zip(params, row, strict=True):
                p.grad = None if g is None else array(g)
            for norm_type in (2.0, np.inf):
                optim.clip_grad_norm_(params, 1.0, norm_type)
            optimizer.step()
            ema.update()
            if t == 10:
                optimizer.load_state_dict(optimizer.state_dict())  # NumPy arrays, which must go back
                ema.load_state_dict(ema.state_dict())
        results.append(optimizer.state_dict())
        averages.append(ema.state_dict())
    for p, q in zip(there, here, strict=True):
        np.testing.assert_allclose(p.data.get(), q.data, rtol=1e-12)
    for got, want in (results, averages):
        assert got["state"].keys() == want["state"].keys()
        for i, state in want["state"].items():
            for name, value in state.items():
                np.testing.assert_allclose(got["state"][i][name], value, rtol=1e-12, atol=1e-15)


@every_case
def test_everything_stays_on_the_device_and_nothing_waits_for_it(case, device):
    check_on(device, case)


@pytest.mark.gpu
@every_case
def test_on_a_gpu(case, gpu):
    check_on(gpu, case)


def test_a_gradient_elsewhere_than_its_data(device):
    p = Parameter(device(np.zeros(2)))
    p.grad = np.ones(2)
    with pytest.raises(
        TypeError, match=r"parameter 0: the gradient is a numpy.ndarray; wanted a cupy.DeviceArray like"
    ):
        optim.SGD([p]).step()
