"""Pooled host memory: what is handed out is nobody else's, what is free is used again, what is idle goes back."""

import gc
import itertools
import os
import pickle
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import backend


@pytest.fixture
def pool(monkeypatch):
    """A pool of the test's own."""
    monkeypatch.setattr(backend, "_pool", backend._Pool())
    return backend._pool


def address(x):
    return x.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", np.dtype("int32"), bool, ">f4"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (64, 64), (3, 40, 40, 7), (1 << 21,)])
def test_it_is_an_array_like_numpys(pool, shape, dtype):
    for make, numpys in ((backend.empty, np.empty), (backend.zeros, np.zeros)):
        x, want = make(shape, dtype), numpys(shape, dtype)
        assert (type(x), x.shape, x.dtype, x.strides) == (np.ndarray, want.shape, want.dtype, want.strides)
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert x.flags.aligned
        assert x.nbytes < backend.SMALL or address(x) % 64 == 0
    assert not x.any()
    assert backend.empty((4, 4)).dtype == np.float32


def test_objects_are_never_pooled(pool):
    assert backend.empty((10_000,), object)[-1] is None
    assert pool.memory().blocks == 0


def test_small_arrays_are_numpys(pool):
    backend.empty((backend.SMALL // 4 - 1,))
    assert pool.memory().blocks == 0
    backend.empty((backend.SMALL // 4,))
    assert pool.memory().blocks == 1


def test_freed_memory_is_used_again(pool):
    x = backend.empty((100, 100))
    place = address(x)
    del x
    assert address(backend.empty((50, 200))) == place
    assert pool.memory().blocks == 1


HOLDERS = {
    "the array": lambda x: x,
    "a view": lambda x: x[5:],
    "a view of a view": lambda x: x[5:].reshape(-1)[::2].T,
    "another dtype": lambda x: x.view(np.uint8)[3:],
    "a subclass": lambda x: x.view(np.ma.MaskedArray)[2:],
    "its base": lambda x: x.base,
    "the base of a view": lambda x: x[1:].base,
    "a memoryview": lambda x: memoryview(x)[3:],
    "an iterator": lambda x: x.flat,
    "a buffer": lambda x: np.frombuffer(x, np.uint8),
    "dlpack": lambda x: np.from_dlpack(x),
    "a pickle buffer": lambda x: pickle.PickleBuffer(x),
    "a closure": lambda x: lambda: x,
    "a list": lambda x: [[x]],
}


@pytest.mark.parametrize("how", HOLDERS)
def test_what_anybody_holds_is_not_handed_out(pool, how):
    x = backend.empty((1000, 5))
    place = address(x)
    held = HOLDERS[how](x)
    del x
    others = [backend.empty((1000, 5)) for _ in range(3)]
    assert place not in map(address, others)
    backend.release_memory()
    assert pool.memory().blocks == 4
    assert place not in [address(backend.empty((1000, 5))) for _ in range(3)]
    assert held is not None
    del held
    gc.collect()
    assert address(backend.empty((1000, 5))) == place


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40_000), st.booleans()), max_size=60))
def test_no_two_arrays_overlap_and_none_is_overwritten(steps):
    held = []
    for number, (size, drop) in enumerate(steps):
        x = backend.empty((size,), "int32")
        x.fill(number)
        held.append((x, number))
        if drop:
            held.pop(len(held) // 2)
        del x
    assert all((x == number).all() for x, number in held)
    ends = sorted((address(x), address(x) + x.nbytes) for x, _ in held)
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ends))


@given(st.integers(backend.SMALL, 1 << 40))
def test_a_block_is_at_most_an_eighth_larger_than_asked_for(nbytes):
    size = backend._block_size(nbytes)
    assert nbytes <= size <= nbytes * 9 / 8
    assert backend._block_size(size) == size
    assert backend._block_size(size + 1) == backend._next(size)


def test_a_somewhat_larger_block_serves_too(pool):
    x = backend.empty((9 << 10,), "uint8")
    del x
    backend.empty((8 << 10,), "uint8")
    assert pool.memory().blocks == 1
    backend.empty((4 << 10,), "uint8")
    assert pool.memory().blocks == 2, "twice the size would be a waste"


def test_the_report(pool):
    x, y = backend.empty((1 << 20,), "uint8"), backend.empty((3 << 20,), "uint8")
    del y
    report = minicnn.memory()
    assert report == (1 << 20, 3 << 20, 2, 4 << 20)
    assert (report.in_use, report.kept_free, report.blocks, report.peak) == report
    assert str(report) == "1.0 MiB in use, 3.0 MiB kept free, 2 blocks, at most 4.0 MiB so far"
    assert report.release() == 3 << 20
    assert minicnn.memory() == (1 << 20, 0, 1, 4 << 20)
    assert backend.release_memory() == 0
    x.fill(1)
    del x
    assert backend.release_memory() == 1 << 20
    assert minicnn.memory() == (0, 0, 0, 4 << 20)
    assert backend.zeros((1 << 20,), "uint8").sum() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("size", [backend.MAPPED, 4 * backend.HUGE])
def test_released_pages_go_back_to_the_system(pool, size):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    blocks = [backend.zeros((size,), "uint8") for _ in range((64 << 20) // size)]
    full = resident()
    del blocks
    backend.release_memory()
    assert full - resident() > 60 << 20


def test_idle_blocks_are_given_back_and_those_of_a_loop_kept(pool, monkeypatch):
    monkeypatch.setattr(backend, "PERIOD", 100)
    peak = [backend.empty((5000,)) for _ in range(10)]
    other = backend.empty((90_000,))
    held = peak[7]
    del peak, other
    places = set()
    for _ in range(150):
        loop = [backend.empty((5000,)) for _ in range(2)]
        places |= {address(x) for x in loop}
        del loop
    assert pool.memory().blocks == 3, "two of the loop, and one that is held"
    assert len(places) == 2
    assert address(held) not in places


def test_a_failed_allocation_changes_nothing(pool):
    with pytest.raises(MemoryError):
        backend.empty((1 << 60,), "uint8")
    assert pool.memory() == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="negative"):
        backend.empty((-10_000,))


def test_threads_never_share_memory(pool):
    errors = []

    def work(number):
        rng = np.random.default_rng(number)
        for _ in range(300):
            xs = [backend.empty((int(n),), "int64") for n in rng.integers(500, 3000, size=4)]
            for x in xs:
                x.fill(number)
            if not all((x == number).all() for x in xs):
                errors.append(number)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors
    assert pool.memory().in_use == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_its_own_memory_and_no_dead_lock(pool):
    x = backend.zeros((1 << 22,), "uint8")
    with pool.lock:
        child = os.fork()
        if child == 0:
            pool.renew_lock()
            x.fill(7)
            ok = backend.empty((5000,)).size == 5000
            os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not x.any()
