"""The stand-in for CuPy refuses what CuPy refuses, or more, and otherwise computes what NumPy computes."""

import copy
import operator
import sys

import numpy as np
import pytest

pytest.importorskip("cupy", reason="the stand-in takes its names and signatures from CuPy")
import strictcupy
from strictcupy import HostSync, no_sync, xp

from minicnn import backend

HOST = np.linspace(-1, 2, 12, dtype="float32").reshape(3, 4)


@pytest.fixture
def d():
    """A device array."""
    return xp.asarray(HOST)


ALLOWED = {
    "arithmetic": (lambda d: 2 * d @ d.T - d.sum() / 3 + np.float32(1), 2 * HOST @ HOST.T - HOST.sum() / 3 + 1),
    "reduction": (lambda d: d.mean((0, 1), dtype="float64", keepdims=True), HOST.mean(keepdims=True, dtype="float64")),
    "functions": (lambda d: xp.where(d > 0, xp.exp(d), -1.0), np.where(HOST > 0, np.exp(HOST), -1)),
    "of several": (lambda d: xp.concatenate([d, d], axis=1), np.concatenate([HOST, HOST], 1)),
    "shapes": (lambda d: xp.moveaxis(d.reshape(3, 2, 2), 1, 0).copy(), np.moveaxis(HOST.reshape(3, 2, 2), 1, 0)),
    "padding": (lambda d: xp.pad(d, 1, constant_values=-xp.inf), np.pad(HOST, 1, constant_values=-np.inf)),
    "linalg": (lambda d: xp.linalg.norm(d, axis=0), np.linalg.norm(HOST, axis=0)),
    "special": (lambda d: strictcupy.special.expit(d), 1 / (1 + np.exp(-HOST))),
    "indexing": (lambda d: d[1:, xp.asarray([0, 2])], HOST[1:, [0, 2]]),
    "creation": (lambda d: xp.arange(3, dtype="uint64") + xp.full(3, 7, "uint64"), np.arange(7, 10)),
    "a copy of the host's": (lambda d: xp.array([d[0], HOST[1]]), HOST[:2]),
    "comparison": (lambda d: (d == d) & ~(d != d), np.ones((3, 4), bool)),
    "all equal": (lambda d: xp.array_equal(d, d), np.array(True)),
    "several results": (lambda d: xp.stack(divmod(d, 2)), np.stack(np.divmod(HOST, 2))),
}


@pytest.mark.parametrize(("f", "want"), ALLOWED.values(), ids=ALLOWED)
def test_allowed(d, f, want):
    with no_sync():
        found = f(d)
    assert type(found) is xp.ndarray
    assert found.shape == want.shape
    np.testing.assert_allclose(found.get(), want, rtol=1e-6)


REFUSED = {
    "host after device": (lambda d: d + HOST, TypeError, "Unsupported type"),
    "host before device": (lambda d: HOST + d, TypeError, "Unsupported type"),
    "0-d host": (lambda d: d * np.array(2.0), TypeError, "Unsupported type"),
    "host in place": (lambda d: operator.iadd(d, HOST), TypeError, "Unsupported type"),
    "device into host": (lambda d: operator.iadd(HOST.copy(), d), TypeError, "does not support ufuncs"),
    "list": (lambda d: d[0] + [1, 2, 3, 4], TypeError, "Unsupported type"),
    "host operand": (lambda d: xp.maximum(d, HOST), TypeError, "Unsupported type"),
    "host argument": (lambda d: xp.where(d > 0, d, HOST), TypeError, "host array"),
    "host in a list": (lambda d: xp.concatenate([d, HOST]), TypeError, "host array"),
    "host index": (lambda d: d[np.array([0, 1])], TypeError, "host array"),
    "host assigned": (lambda d: operator.setitem(d, 0, HOST[0]), TypeError, "Unsupported type"),
    "host to a method": (lambda d: d.dot(HOST.T), TypeError, "host array"),
    "host to special": (lambda d: strictcupy.special.erf(HOST), TypeError, "Unsupported type"),
    "numpy ufunc": (lambda d: np.exp(d), TypeError, "does not support ufuncs"),
    "numpy function": (lambda d: np.sum(d), TypeError, "use xp.sum"),
    "numpy.asarray": (lambda d: np.asarray(d), TypeError, "Implicit conversion"),
    "numpy scalar's method": (lambda d: np.array([1.0, 2.0]) @ d[:2], TypeError, "Unsupported type"),
    "sum where": (lambda d: xp.sum(d, where=d > 1), TypeError, "unexpected keyword argument 'where'"),
    "method's where": (lambda d: d.sum(where=d > 1), TypeError, "unexpected keyword argument 'where'"),
    "method's initial": (lambda d: d.max(initial=0), TypeError, "unexpected keyword argument 'initial'"),
    "ufunc where": (lambda d: xp.add(d, d, where=d > 1), TypeError, "unexpected keyword argument 'where'"),
    "var mean": (lambda d: d.var(mean=d.mean()), TypeError, "unexpected keyword argument 'mean'"),
    "take mode": (lambda d: xp.take(d, xp.asarray([0]), mode="clip"), TypeError, "unexpected keyword argument 'mode'"),
    "argsort stable": (lambda d: xp.argsort(d, stable=True), TypeError, "unexpected keyword argument 'stable'"),
    "too many": (lambda d: xp.moveaxis(d, 0, 1, 2), TypeError, "too many positional arguments"),
    "function": (lambda d: xp.vecdot(d, d), AttributeError, "no attribute 'vecdot'"),
    "ufunc's method": (lambda d: xp.add.reduce(d), AttributeError, "reduce"),
    "method": (lambda d: d.setflags(write=False), AttributeError, "no attribute 'setflags'"),
    "ctypes": (lambda d: d.ctypes, AttributeError, "no attribute 'ctypes'"),
    "writeable": (lambda d: d.flags.writeable, AttributeError, "writeable"),
    "array interface": (lambda d: d.__array_interface__, AttributeError, "__array_interface__"),
    "buffer": (lambda d: memoryview(d), TypeError, "bytes-like"),
    "hash": (lambda d: hash(d), TypeError, "unhashable"),
    "range": (lambda d: range(d.sum().astype(int)), TypeError, "cannot be interpreted as an integer"),
    "objects": (lambda d: xp.asarray([None]), TypeError, "Unsupported dtype object"),
    "text": (lambda d: xp.asarray(["a"]), TypeError, "Unsupported dtype"),
    "random": (lambda d: xp.random.rand(3), AttributeError, "not emulated"),
    "only CuPy's": (lambda d: xp.ElementwiseKernel, AttributeError, "not emulated"),
    "only CuPy's method": (lambda d: d.scatter_add(0, 1), AttributeError, "not emulated"),
    "length of 0-d": (lambda d: len(d.sum()), TypeError, "unsized"),
}


@pytest.mark.parametrize(("f", "exception", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(d, f, exception, message):
    with pytest.raises(exception, match=message):
        f(d)


WAITING = {
    "get": lambda d: d.get(),
    "asnumpy": lambda d: xp.asnumpy(d),
    "float": lambda d: float(d.sum()),
    "int": lambda d: int(d.sum()),
    "complex": lambda d: complex(d.sum()),
    "bool": lambda d: bool((d > 0).any()),
    "if": lambda d: 1 if d.max() > 0 else 0,
    "in": lambda d: 3.0 in d[0],
    "max of Python": lambda d: max(d[0]),
    "item": lambda d: d.sum().item(),
    "tolist": lambda d: d.tolist(),
    "repr": lambda d: repr(d),
    "str": lambda d: str(d),
    "format": lambda d: f"{d.sum():.3f}",
    "mask": lambda d: d[d > 0],
    "mask in a tuple": lambda d: d[0, d[0] > 0],
    "nonzero": lambda d: xp.nonzero(d),
    "where": lambda d: xp.where(d > 0),
    "unique": lambda d: xp.unique(d),
}


@pytest.mark.parametrize("f", WAITING.values(), ids=WAITING)
def test_waits_for_the_device(d, f):
    f(d)
    with no_sync(), pytest.raises(HostSync, match="waits for the device"):
        f(d)
    f(d)


def test_0d_arrays_and_views(d):
    total, entry, row = d.sum(), d[1, 2], d[1]
    assert (type(total), total.shape, type(entry), entry.shape) == (xp.ndarray, (), xp.ndarray, ())
    total += 1
    d[1, 2], d[1, 3] = 70, total
    d[0] += d[1]
    assert float(entry) == 70  # a view, where NumPy gives a number
    assert float(row[3]) == pytest.approx(HOST.sum() + 1)
    assert float(d[0, 2]) == HOST[0, 2] + 70


def test_every_signature_of_cupys_methods_is_understood(d):
    found = {name for name in dir(strictcupy.cupy.ndarray) if hasattr(d, name)}  # TypeError where one is not
    assert found > {"all", "argmax", "astype", "clip", "dot", "mean", "reshape", "sort", "swapaxes", "transpose", "var"}
    assert d.reshape(2, 6, order="F").shape == (2, 6)


def test_nothing_is_shared_with_the_host():
    host = np.zeros(3)
    host.flags.writeable = False
    d = xp.asarray(host)
    d += 1
    d.get()[0] = 9
    assert d.get().tolist() == [1, 1, 1]
    assert not host.any()
    twin = copy.deepcopy(d)
    twin[0] = 5
    assert float(d[0]) == 1


def test_minicnn_finds_the_stand_in_as_it_finds_cupy(d):
    real = sys.modules["cupy"]
    with strictcupy.installed():
        assert backend.array_module(d) is xp
        assert backend.special_module(d) is strictcupy.special
        assert backend.kind(d) == "cuda"
        moved = backend.to_device(HOST, "cuda:0")
        assert type(moved) is xp.ndarray
        assert np.array_equal(backend.to_device(moved, "cpu"), HOST)
    assert sys.modules["cupy"] is real is not xp
