"""Which array library an array belongs to, moving arrays between libraries, and the memory of host arrays.

An array says by its type where it lives, and CuPy is never imported by `import minicnn`: it is looked up among the
modules that are already loaded.  This is the only module outside the GPU's own files that names CuPy.

Memory.  A training step makes the same arrays every time, and asking the system for fresh pages costs more than many a
kernel.  `empty` therefore hands out views of blocks that a pool keeps.  A view holds its block, and so does a view of
the view, so a block to which only the pool refers is free: nothing has to be given back, and nothing that anybody still
holds is ever handed out again.
"""

import functools
import mmap
import os
import sys
import threading
from math import prod
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

Array = Any  # numpy.ndarray | cupy.ndarray
FLOAT32 = np.dtype("float32")

DEVICE_LIBRARIES = {"cupy": "cupyx.scipy.special"}  # array library of a GPU -> where its special functions are


def _device_library(x: object) -> str | None:
    root = type(x).__module__.partition(".")[0]
    return root if root in DEVICE_LIBRARIES else None


def array_module(x: object) -> ModuleType:
    """`numpy` or `cupy`, whichever x belongs to; TypeError where x is neither's array."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    if library := _device_library(x):
        return sys.modules[library]
    raise TypeError(f"expected a NumPy or CuPy array, got {type(x).__name__}: {str(x)[:60]}")


def special_module(x: object) -> ModuleType:
    """`scipy.special`, or its counterpart for the device x lives on (for erf)."""
    import importlib

    library = _device_library(x)
    return importlib.import_module(DEVICE_LIBRARIES[library] if library else "scipy.special")


def kind(x: object) -> str:
    """The accelerator that can run on x: "numba" for host arrays, "cuda" for device arrays."""
    return "cuda" if _device_library(x) else "numba"


def host_only() -> bool:
    """Whether no array can be on a device, for no library for that is loaded."""
    return sys.modules.keys().isdisjoint(DEVICE_LIBRARIES)


def is_array(x: object) -> bool:
    """Whether x is an array of a library minicnn computes with."""
    return isinstance(x, (np.ndarray, np.generic)) or _device_library(x) is not None


def to_host(x: Array) -> np.ndarray:
    """x as a NumPy array: itself if it is one, a copy from the device otherwise."""
    return np.asarray(x) if not _device_library(x) else x.get()


def to_device(x: Array, device: str) -> Array:
    """x on "cpu", "cuda" or "cuda:1".  ValueError names the devices there are; RuntimeError says what CuPy lacks."""
    name, _, index = device.partition(":")
    if name == "cpu" and not index:
        return to_host(x)
    if name != "cuda" or not (index == "" or index.isdecimal()):
        raise ValueError(f'device {device!r}: wanted "cpu", "cuda" or "cuda:<index>"')
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            f"device {device!r} needs CuPy, which is not installed: pip install 'minicnn[cuda13]' "
            f"(or cuda12, after the driver); `minicnn doctor` tells more"
        ) from error
    if not cupy.is_available():
        raise RuntimeError(f"device {device!r}: CuPy {cupy.__version__} finds no GPU; see `minicnn doctor`")
    with cupy.cuda.Device(int(index or 0)):
        return cupy.asarray(x)


# the memory of host arrays

SMALL = 1 << 12  # bytes; NumPy is quick with less, and keeps it close together
MAPPED = 1 << 20  # bytes; a block of at least this has pages of its own, which go back to the system with it
HUGE = 1 << 22  # bytes; from here on pages of 2 MB save more than they may waste
PERIOD = 10_000  # arrays; longer than any training step
_only_a_list = [np.empty(0)]
FREE = sys.getrefcount(_only_a_list[0])  # what Python counts for a block to which only the pool's list refers


class Memory(NamedTuple):
    """What `minicnn.memory()` found: bytes in use and bytes kept free, in how many blocks, and the most ever held."""

    in_use: int
    kept_free: int
    blocks: int
    peak: int

    def release(self) -> int:
        """Give every block that is free now back to the system; returns how many bytes that were."""
        return release_memory()

    def __str__(self) -> str:
        mb = [f"{n / 2**20:.1f} MiB" for n in (self.in_use, self.kept_free, self.peak)]
        return f"{mb[0]} in use, {mb[1]} kept free, {self.blocks} blocks, at most {mb[2]} so far"


class _Pool:
    """Blocks by size: a size is 8 to 15 times a power of two, so that a block is at most 1/8 larger than asked for.

    Of each size the first free block is taken, so the blocks a loop needs are the first ones.  What lies behind them
    and has not been taken for two PERIODs of arrays is given back: idle memory does not stay.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a finaliser may make arrays while this thread is in here
        self.blocks: dict[int, list[np.ndarray]] = {}
        self.reached: dict[int, int] = {}  # how far into each list the search went in this period
        self.before: dict[int, int] = {}  # and in the one before
        self.held = self.peak = self.taken = 0

    def take(self, nbytes: int) -> np.ndarray:
        """A block of at least nbytes bytes that nobody else holds."""
        sizes = _fitting(nbytes)
        with self.lock:
            self.taken += 1
            if self.taken % PERIOD == 0:
                self._give_back_idle()
            for larger in sizes:
                blocks = self.blocks.get(larger, ())
                for index in range(len(blocks)):
                    if sys.getrefcount(blocks[index]) == FREE:
                        if index >= self.reached.get(larger, 0):
                            self.reached[larger] = index + 1
                        return blocks[index]
            size, *_ = sizes
            made = self.blocks.setdefault(size, [])
            made.append(_fresh(size))
            self.reached[size] = len(made)
            self.held += size
            self.peak = max(self.peak, self.held)
            return made[-1]

    def give_back(self, needed: dict[int, int]) -> int:
        """Drop the free blocks behind the first needed[size] of each size; returns their bytes."""
        with self.lock:
            before = self.held
            for size, blocks in self.blocks.items():
                for index in reversed(range(needed.get(size, 0), len(blocks))):
                    if sys.getrefcount(blocks[index]) == FREE:
                        del blocks[index]
                        self.held -= size
            return before - self.held

    def _give_back_idle(self) -> None:
        sizes = self.reached.keys() | self.before.keys()
        self.give_back({size: max(self.reached.get(size, 0), self.before.get(size, 0)) for size in sizes})
        self.before, self.reached = self.reached, {}

    def memory(self) -> Memory:
        with self.lock:
            lists = self.blocks.items()
            free = sum(size for size, x in lists for i in range(len(x)) if sys.getrefcount(x[i]) == FREE)
            return Memory(self.held - free, free, sum(len(x) for _, x in lists), self.peak)

    def renew_lock(self) -> None:
        """In a forked child: the thread that held the lock may not be there."""
        self.lock = threading.RLock()


@functools.lru_cache(1024)
def _fitting(nbytes: int) -> tuple[int, ...]:
    """The sizes of blocks that may be given for nbytes bytes, the smallest first."""
    size = _block_size(nbytes)
    return size, _next(size), _next(_next(size))


def _block_size(nbytes: int) -> int:
    """The smallest size of a block that holds nbytes bytes."""
    shift = nbytes.bit_length() - 4
    return -(-nbytes >> shift) << shift


def _next(size: int) -> int:
    return size + (1 << size.bit_length() - 4)


def _fresh(size: int) -> np.ndarray:
    """A new block of bytes on a 64-byte boundary."""
    if size < MAPPED or not hasattr(mmap, "MAP_PRIVATE"):
        memory = np.empty(size + 64, np.uint8).data
        start = -np.frombuffer(memory, np.uint8).ctypes.data % 64
        return np.frombuffer(memory[start : start + size], np.uint8)
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for {size} bytes") from error
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            pages.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # this system has none
    return np.frombuffer(pages, np.uint8)


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.renew_lock)


def empty(shape: tuple[int, ...], dtype: Any = FLOAT32) -> np.ndarray:
    """As `np.empty`, in pooled memory: C-contiguous, from 4 KiB on 64-byte aligned, the caller's to keep and change."""
    dtype = np.dtype(dtype)
    nbytes = prod(shape) * dtype.itemsize
    if nbytes < SMALL or dtype.hasobject:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, _pool.take(nbytes))


def zeros(shape: tuple[int, ...], dtype: Any = FLOAT32) -> np.ndarray:
    """As `np.zeros`, in pooled memory."""
    x = empty(shape, dtype)
    x.fill(0)
    return x


def memory() -> Memory:
    """How much host memory minicnn's pool holds: `print(minicnn.memory())`, `minicnn.memory().release()`."""
    return _pool.memory()


def release_memory() -> int:
    """Give every block of pooled memory that is free now back to the system; returns how many bytes that were."""
    return _pool.give_back({})
