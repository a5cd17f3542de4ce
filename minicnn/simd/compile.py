"""Compiling kernels: once, for argument types that are written down, and kept on disk.

    @kernel((vector_in, vector_out))
    def square(x, y):
        for i in range(x.size):
            y[i] = x[i] * x[i]

`kernel` compiles at the first call, not at import, and for one signature only: an argument that does not fit is an
error, never a second, slower version.  A kernel returns nothing; it writes into the arrays it is given.  `inner` is for
the functions it is made of, which are compiled into it.
"""

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba import types

from minicnn.simd.parts import inner_with, without_garbage_collection

f32, f64, i64, u8, u64 = types.float32, types.float64, types.int64, types.uint8, types.uint64

# What may be assumed of float arithmetic: a product and a sum may be one instruction, sums may be reordered, the sign
# of a zero does not matter.  Not that there are no NaN or Inf: those come through as in the definitions.
ARITHMETIC = {"contract", "reassoc", "nsz"}
OPTIONS: dict[str, Any] = {"fastmath": ARITHMETIC, "error_model": "numpy", "nogil": True, "boundscheck": False}


def array(ndim: int, dtype: Any = f32, *, strided: bool = False, writable: bool = False) -> types.Array:
    """The type of an array argument: C-contiguous unless strided, read-only unless writable.

    A read-only argument accepts writable arrays too, and a strided one contiguous arrays.
    """
    return types.Array(dtype, ndim, "A" if strided else "C", readonly=not writable)


image_in, image_out = array(4, strided=True), array(4, strided=True, writable=True)  # (N, H, W, C), any strides
vector_in, vector_out = array(1), array(1, writable=True)  # contiguous

inner = inner_with(OPTIONS)  # decorates a part of kernels, which is compiled into each


class Kernel:
    """A compiled function of fixed argument types; called like the Python function it is made of."""

    announce: Callable[[str], Any] | None = None  # told once a process, when the first kernel is really compiled
    _lock = threading.RLock()

    def __init__(self, function: Callable[..., None], arguments: tuple[Any, ...]):
        self.function, self.arguments = function, arguments
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self._ready: Callable[..., None] | None = self._as_python if numba.config.DISABLE_JIT else None

    def __call__(self, *args: Any) -> None:
        (self._ready or self.compiled())(*args)

    def __repr__(self) -> str:
        return f"<kernel {self.function.__module__.rpartition('.')[2]}.{self.__name__}>"

    def compiled(self) -> Callable[..., None]:
        """The machine code: loaded from the disk, or compiled now and kept there where a folder can be written."""
        with self._lock:
            if self._ready is None:
                self._ready = machine_code(self.function, self.arguments, _stamp(self.function))
        return self._ready

    @np.errstate(all="ignore")  # as machine code does: lanes that are never stored may hold anything
    def _as_python(self, *args: Any) -> None:
        self.function(*args)


def machine_code(function: Callable[..., None], arguments: tuple[Any, ...], stamp: str) -> Callable[..., None]:
    """`function` compiled for one signature, or loaded from the disk where its stamp is the same."""
    try:
        made = numba.njit(cache=True, **OPTIONS)(function)
        made._cache._cache_file._source_stamp = stamp
    except RuntimeError:  # no folder can be written: compiled again in every process
        made = numba.njit(**OPTIONS)(function)
    with without_garbage_collection():
        made.compile(types.void(*arguments))
    made.disable_compile()
    if made.stats.cache_misses and Kernel.announce:
        Kernel.announce(made.stats.cache_path)
        Kernel.announce = None
    return made


def kernel(arguments: tuple[Any, ...]) -> Callable[[Callable[..., None]], Kernel]:
    """Decorate a function of these argument types, that writes into its arrays and returns nothing, as a Kernel."""
    return lambda function: Kernel(function, arguments)


def _say(folder: str | None) -> None:
    kept = f"kept in {folder}" if folder else "not kept, for no cache folder can be written"
    print(f"minicnn compiles its CPU kernels, about 20 seconds in all ({kept})", file=sys.stderr)


Kernel.announce = _say


def _stamp(function: Callable[..., Any]) -> str:
    """What the compiled code depends on: the text of the files its parts come from, and the constants it uses.

    Numba itself looks at the file of the outermost function alone, and would go on with old code after a change here.
    """
    files, constants = set(), hashlib.sha256()
    todo, seen = [function], set()
    while todo:
        f = todo.pop()
        if f in seen or not hasattr(f, "__code__"):
            continue
        seen.add(f)
        files.add(f.__code__.co_filename)
        for name, value in sorted(_used(f).items()):
            part = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value
            if callable(part):
                todo.append(part)
            elif isinstance(value, (int, float, str, tuple, np.ndarray, np.generic)):
                constants.update(f"{name}={np.asarray(value).tolist()}".encode())
    for path in sorted(files):
        if os.path.exists(path):
            constants.update(Path(path).read_bytes())
    return constants.hexdigest()


def _used(f: Callable[..., Any]) -> dict[str, Any]:
    """The globals and closed-over values a function names, and what it names in modules of this package."""
    names = set(f.__code__.co_names)
    for constant in f.__code__.co_consts:  # the functions written inside it
        names |= set(getattr(constant, "co_names", ()))
    cells = zip(f.__code__.co_freevars, (c.cell_contents for c in f.__closure__ or ()), strict=True)
    found = {n: f.__globals__[n] for n in names if n in f.__globals__} | dict(cells)
    package = __name__.partition(".")[0]
    for value in list(found.values()):
        if isinstance(value, ModuleType) and value.__name__.startswith(package):
            found |= {f"{value.__name__}.{n}": getattr(value, n) for n in names if hasattr(value, n)}
    return found
