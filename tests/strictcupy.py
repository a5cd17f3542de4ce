"""Stands in for CuPy where there is no GPU: an array type that behaves as CuPy's or stricter and computes with NumPy.

Names and arguments are those of the installed CuPy, so code that runs here asks for nothing that CuPy lacks:

    a function or method that CuPy lacks                             AttributeError
    an argument that CuPy's function or method lacks                 TypeError
    a NumPy array, or a list, where an operand should be             TypeError
    numpy.f(device array), numpy.asarray(device array)               TypeError
    a dtype that CuPy lacks (objects, text, long doubles)            TypeError
    inside `with no_sync():`, whatever waits for the device          HostSync

What CuPy and NumPy both have under one name is taken to mean the same; values, dtypes and views are NumPy's.  As in
CuPy, what NumPy gives as a scalar is a 0-d array here, and one that was indexed is a view.

`with installed() as xp:` puts the stand-in where code looks for CuPy: its arrays say that their type's module is
"cupy", and `sys.modules["cupy"]` is xp.
"""

import contextlib
import functools
import inspect
import numbers
import re
import sys
import types
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
import scipy.special

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a driver
    import cupy
    import cupyx.scipy.special

UPLOADS = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}  # these take host arrays
WAITS = {
    *("argwhere", "bincount", "compress", "extract", "flatnonzero", "nonzero", "unique"),
    *("dump", "dumps", "item", "tobytes", "tofile", "tolist"),
}
ARRAY_VALUED = {"allclose", "array_equal", "array_equiv", "count_nonzero"}  # NumPy's give bool or int
FACTS = {"dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides"}
VIEWS = {"T", "imag", "mT", "real"}
DTYPES = "?bhilqBHILQefdFD"
BINARY = "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift".split()
OPERATORS = [
    *(f"__{side}{name}__" for name in BINARY for side in ("", "r", "i")),
    *(f"__{name}__" for name in "lt le eq ne gt ge neg pos abs invert".split()),
]

_forbidden: ContextVar[bool] = ContextVar("strictcupy.forbidden", default=False)


class HostSync(RuntimeError):
    """The host waited for the device where it must not."""


@contextlib.contextmanager
def no_sync() -> Iterator[None]:
    """Inside the block, in this thread, HostSync is raised where CuPy would wait for the device."""
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


@contextlib.contextmanager
def installed() -> Iterator["Namespace"]:
    """Inside the block `cupy` and `cupyx.scipy.special` are the stand-in, for every thread; gives the first."""
    names = {"cupy": xp, "cupyx.scipy.special": special}
    before = {name: sys.modules[name] for name in names}
    sys.modules.update(names)
    try:
        yield xp
    finally:
        sys.modules.update(before)


class ndarray:
    """cupy.ndarray's part.  `_host` is the NumPy array that holds the numbers; nothing but this file looks at it."""

    __module__ = "cupy"
    __slots__ = ("_host",)
    __array_ufunc__ = None  # numpy.exp(device array) is refused, and host + device is left to __radd__
    __hash__ = None

    def __init__(self, host):
        if host.dtype.char not in DTYPES:
            raise TypeError(f"Unsupported dtype {host.dtype}")
        self._host = host

    def __getattr__(self, name):
        if name.startswith("_") or not hasattr(cupy.ndarray, name):
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        if name in FACTS:
            return getattr(self._host, name)
        if name in VIEWS:
            return _on_device(getattr(self._host, name))
        if not (callable(getattr(cupy.ndarray, name)) and hasattr(self._host, name)):
            raise AttributeError(f"'cupy.ndarray.{name}' is not emulated")
        return _checked(f"ndarray.{name}", getattr(self._host, name), _signature(getattr(cupy.ndarray, name)))

    @property
    def flags(self):
        ours = self._host.flags
        return types.SimpleNamespace(c_contiguous=ours.c_contiguous, f_contiguous=ours.f_contiguous)

    def get(self, stream=None, order="C", out=None, blocking=True):
        _waits("get()")
        return self._host.copy(order)

    def __getitem__(self, index):
        entries = index if isinstance(index, tuple) else (index,)
        if any(isinstance(i, ndarray) and i.dtype == bool for i in entries):
            _waits("array[mask]")
        found = self._host[_on_host(index)]
        return _on_device(self._host[(*_on_host(entries), ...)] if isinstance(found, np.generic) else found)

    def __setitem__(self, index, value):
        self._host[_on_host(index)] = _operand(value)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[k] for k in range(len(self)))

    def __copy__(self):
        return ndarray(self._host.copy())

    def __deepcopy__(self, memo):
        return ndarray(self._host.copy())

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()`")

    def __array_function__(self, function, *args, **kwargs):
        raise TypeError(f"numpy.{function.__name__} of a device array: use xp.{function.__name__}")

    def __bool__(self):
        _waits("bool()")
        return bool(self._host)

    def __int__(self):
        _waits("int()")
        return int(self._host)

    def __float__(self):
        _waits("float()")
        return float(self._host)

    def __complex__(self):
        _waits("complex()")
        return complex(self._host)

    def __repr__(self):
        _waits("repr()")
        return repr(self._host)

    def __format__(self, spec):
        _waits("format()")
        return format(self._host, spec)


def _operator(name):
    def operator(self, *others):
        result = getattr(self._host, name)(*map(_operand, others))
        return self if result is self._host else _on_device(result)

    return operator


for _name in OPERATORS:
    if hasattr(cupy.ndarray, _name):
        setattr(ndarray, _name, _operator(_name))


class Namespace(types.ModuleType):
    """The names of a module of CuPy's, each meaning what the module of NumPy's means by it."""

    def __init__(self, name, theirs, ours):
        super().__init__(name)
        self._theirs, self._ours = theirs, ours

    def __getattr__(self, name):
        if name.startswith("__") or not hasattr(self._theirs, name):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        theirs, ours = getattr(self._theirs, name), getattr(self._ours, name, None)
        if theirs is ours or isinstance(theirs, float):
            return theirs  # float32, newaxis, inf
        if name == "linalg":
            return Namespace(f"{self.__name__}.linalg", theirs, ours)
        if ours is None or isinstance(theirs, (type, types.ModuleType)):
            raise AttributeError(f"'{self.__name__}.{name}' is not emulated")
        return _checked(name, ours, _signature(theirs), ufunc=isinstance(theirs, cupy.ufunc))


def _checked(name, ours, signature, ufunc=False):
    """ours, called on device arrays with arguments that fit the signature."""
    last = name.rpartition(".")[2]

    def call(*args, **kwargs):
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"cupy.{name}{signature}: {error}") from None
        if last in WAITS or (name == "where" and len(given) == 1):  # how many there are, the host must know
            _waits(f"{last}()")
        if name in UPLOADS and args:
            args = (_uploaded(args[0]), *args[1:])
            kwargs.pop("blocking", None)
        host_args = [_operand(a) for a in args] if ufunc else _on_host(args)
        result = ours(*host_args, **_on_host(kwargs))
        return _on_device(np.asarray(result) if name in ARRAY_VALUED else result)

    return call


UFUNC = inspect.signature(lambda *args, out=None, dtype=None, casting="same_kind": None)


@functools.cache
def _signature(function):
    """What a function of CuPy's takes; of its methods the first line of the docstring tells."""
    if isinstance(function, cupy.ufunc):
        return UFUNC
    try:
        return inspect.signature(function)
    except ValueError:
        listed = re.match(r"[\w.]+\((.*)\)", function.__doc__)[1].split(", ")
    P, parameters = inspect.Parameter, []
    kind = P.POSITIONAL_OR_KEYWORD
    for text in [entry for entry in listed if entry != "self"]:
        typed, _, default = text.partition("=")
        name = typed.split()[-1]  # "Py_ssize_t axis1"
        if name.startswith("*"):
            parameters += [P(name[1:], P.VAR_POSITIONAL)] if name[1:] else []
            kind = P.KEYWORD_ONLY
        else:
            parameters.append(P(name, kind, default=default or P.empty))
    return inspect.Signature(parameters)


def _waits(what):
    if _forbidden.get():
        raise HostSync(f"{what} waits for the device")


def _operand(x):
    """What stands in NumPy's arithmetic for x, a device array or a number."""
    if isinstance(x, (ndarray, numbers.Number, np.generic)):
        return _on_host(x)
    raise TypeError(f"Unsupported type {type(x)}: wanted a device array (xp.asarray) or a number")


def _on_host(x):
    """x with NumPy arrays in place of device arrays, at any depth."""
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}: a host array of shape {x.shape} meets the device (xp.asarray)")
    if isinstance(x, (tuple, list)):
        return (tuple if isinstance(x, tuple) else list)(map(_on_host, x))
    if isinstance(x, dict):
        return {name: _on_host(value) for name, value in x.items()}
    return x._host if isinstance(x, ndarray) else x


def _uploaded(x):
    """A device array of x, which may hold host and device arrays; a copy unless x is one."""
    if isinstance(x, (tuple, list)):
        x = np.array([_uploaded(entry)._host for entry in x])
    return x if isinstance(x, ndarray) else ndarray(np.array(x))


def _on_device(result):
    """result with device arrays in place of NumPy's arrays and scalars."""
    if isinstance(result, (np.ndarray, np.generic)):
        return ndarray(np.asarray(result))
    if isinstance(result, (tuple, list)):
        return (tuple if isinstance(result, tuple) else list)(map(_on_device, result))
    return result


xp = Namespace("cupy", cupy, np)
xp.ndarray = ndarray
xp.is_available = lambda: True
xp.cuda = types.SimpleNamespace(Device=lambda index: contextlib.nullcontext())
xp.asnumpy = lambda a: a.get() if isinstance(a, ndarray) else np.asarray(a)
special = Namespace("cupyx.scipy.special", cupyx.scipy.special, scipy.special)
