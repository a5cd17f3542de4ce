"""One thread pool: Numba's, for the kernels; BLAS keeps to one thread while they run.

Two pools on the same cores are slower than one: the threads of each wait for work by spinning, and take the cores from
the other.  So inside `one_pool()`, in which a model's calls, its backwards and an optimiser's steps run, BLAS has the
calling thread alone.

Numba runs its threads on one of three layers.  "omp" (OpenMP) starts a kernel in a few microseconds; "workqueue",
which is always there, takes a hundred times as long and serves one caller at a time, so that kernels called from
several threads wait for each other.  OpenMP does not survive a fork: in a forked child kernels decline, and the
definitions run.  A spawned child is a new process and has everything.

The user's limits hold: NUMBA_NUM_THREADS, NUMBA_THREADING_LAYER, NUMBA_THREADING_LAYER_PRIORITY, OMP_NUM_THREADS.
"""

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

INSTALL = {"linux": "install libgomp (apt install libgomp1)", "darwin": "pip install intel-openmp"}
TOGETHER: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()  # for layers that serve several callers


class _Numba:
    """Numba's threads: started at the first kernel, not at import."""

    alone: contextlib.AbstractContextManager[Any] | None = None  # what a kernel runs in, once the threads have started
    lost = False  # whether this process was forked from one whose threads do not survive that
    starting = threading.Lock()

    def start(self) -> contextlib.AbstractContextManager[Any]:
        with self.starting:
            self.alone = self.alone or self._start()
            return self.alone

    def _start(self) -> contextlib.AbstractContextManager[Any]:
        import numba

        config: Any = numba.config
        if "NUMBA_THREADING_LAYER_PRIORITY" not in os.environ:
            config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
        numba.set_num_threads(numba.get_num_threads())  # starts them
        if numba.threading_layer() == "workqueue" and config.THREADING_LAYER == "default":
            print(f"minicnn: Numba finds no OpenMP, so small kernels are slower: {remedy()}", file=sys.stderr)
        return threading.RLock() if numba.threading_layer() == "workqueue" else TOGETHER

    def forked(self) -> None:
        """In a forked child: a lock may be held by a thread that is not there."""
        self.starting = threading.Lock()
        if self.alone is not None:
            self.lost = layer() == "omp" and sys.platform == "linux"
            self.alone = threading.RLock() if layer() == "workqueue" else self.alone


_numba = _Numba()


def run(kernel: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """kernel(*args, **kwargs), when its turn has come; NotImplemented in a forked child that has no threads."""
    if _numba.lost:
        return NotImplemented
    alone = _numba.alone or _numba.start()
    if alone is TOGETHER:
        return kernel(*args, **kwargs)
    with alone:
        return kernel(*args, **kwargs)


def lost() -> bool:
    """Whether kernels decline because this process was forked after some had run."""
    return _numba.lost


def remedy() -> str:
    """What to do where Numba's threading layer is "workqueue"."""
    return INSTALL.get(sys.platform, "pip install tbb")


def layer() -> str:
    """The name of Numba's threading layer."""
    import numba

    _ = _numba.alone or _numba.start()
    return numba.threading_layer()


class _Here(threading.local):
    """Of one thread: how many blocks of `one_pool` it is in, and the count that was found in the outermost."""

    blocks = count = 0


_here = _Here()


def count() -> int:
    """On how many threads a kernel that this thread calls now runs: found once in an outermost block of `one_pool`."""
    if _here.count:
        return _here.count
    import numba

    _ = _numba.alone or _numba.start()
    found = numba.get_num_threads()
    if found > _openmp_limit():
        found = _openmp_limit()
        numba.set_num_threads(found)  # for this thread
    if _here.blocks:
        _here.count = found
    return found


@functools.cache
def _openmp_limit() -> int:
    """OMP_NUM_THREADS ("4", or "4,2" for nested regions), which Numba does not read itself."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    own = "NUMBA_NUM_THREADS" in os.environ  # the more special wish
    return int(first) if first.isdecimal() and int(first) > 0 and not own else sys.maxsize


class _OnePool:
    """BLAS on one thread from the first entry, of whatever thread, to the last exit."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a finaliser may call a model while this thread is in here
        self.entered = 0  # by how many threads
        self.limited: list[tuple[Any, int]] = []

    def __enter__(self) -> None:
        _here.blocks += 1
        if _here.blocks > 1:
            return
        with self.lock:
            self.entered += 1
            if self.entered == 1:
                self.limited = [(blas, n) for blas in _blas() if (n := blas.get_num_threads()) != 1]
                for blas, _ in self.limited:
                    blas.set_num_threads(1)

    def __exit__(self, *error: object) -> None:
        _here.blocks -= 1
        if _here.blocks:
            return
        _here.count = 0
        with self.lock:
            self.entered -= 1
            if self.entered == 0:
                for blas, n in self.limited:
                    blas.set_num_threads(n)

    def forked(self) -> None:
        self.lock = threading.RLock()


_one_pool = _OnePool()


def one_pool() -> contextlib.AbstractContextManager[None]:
    """A block in which BLAS has one thread and the cores are the kernels'; afterwards it has those it had."""
    return _one_pool


@functools.cache
def _blas() -> list[Any]:
    """The BLAS libraries that are loaded, as threadpoolctl's controllers: found once, for that takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_numba.forked)
    os.register_at_fork(after_in_child=_one_pool.forked)
