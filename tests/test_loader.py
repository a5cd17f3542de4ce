"""Batches: their types, their order, and that any of them can be had again."""

import gc
import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import dispatch, using
from minicnn.data.augment import RandomHorizontalFlip
from minicnn.data.dataset import Dataset
from minicnn.data.loader import Loader


def numbered(n, dtype="float32"):
    """n images (2, 3, 1) whose label can be read off their pixels; read-only, as a memory map may be."""
    x = (np.arange(n)[:, None, None, None] + np.arange(3)[:, None] / 4 + np.zeros((2, 1, 1))).astype(dtype)
    x.flags.writeable = False
    return x, np.arange(n)


def faces(labels):
    n = len(labels)
    images = np.full((n, 2, 2, 1), 51, np.uint8)
    return Dataset(images, np.array(labels, np.int64), np.full(n, "Training"), ("a", "b", "c"))


def assert_same_batches(got, want):
    for (x, y), (want_x, want_y) in zip(got, want, strict=True):
        np.testing.assert_array_equal(x, want_x)
        np.testing.assert_array_equal(y, want_y)


def test_a_dataset_gives_floats_from_0_to_1_and_int64_labels():
    (x, y), (x_last, y_last) = Loader(faces([0, 2, 1]), 2)
    assert (x.dtype, x.shape, y.dtype, x_last.shape) == (np.float32, (2, 2, 2, 1), np.int64, (1, 2, 2, 1))
    np.testing.assert_array_equal(x, np.float32(51) / np.float32(255))
    assert (*y, *y_last) == (0, 2, 1)


def test_white_is_exactly_1():
    x, _ = next(iter(Loader((np.full((1, 1, 1, 1), 255, np.uint8), np.zeros(1, int)), 1)))
    assert x.item() == 1


@pytest.mark.parametrize(
    ("x", "y", "want_x", "want_y"),
    [
        (np.full((2, 1, 1, 1), 300.5), np.array([0, 1], np.uint8), np.full((2, 1, 1, 1), 300.5, np.float32), [0, 1]),
        (np.ones((2, 3), np.float16), np.array([1, 0], np.int32), np.ones((2, 3), np.float32), [1, 0]),
        (np.ones((2, 3)), np.array([[0.25, 0.75], [1, 0]]), np.ones((2, 3), np.float32), [[0.25, 0.75], [1, 0]]),
        ([[0.5], [1.5]], [3, 4], np.array([[0.5], [1.5]], np.float32), [3, 4]),
    ],
    ids=["float64 images as they are", "features", "probabilities", "lists"],
)
def test_pairs_of_arrays(x, y, want_x, want_y):
    ((got_x, got_y),) = Loader((x, y), 8)
    np.testing.assert_array_equal(got_x, want_x)
    np.testing.assert_array_equal(got_y, want_y)
    assert (got_x.dtype, got_y.dtype) == (np.float32, np.int64 if np.ndim(y) == 1 else y.dtype)


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_length_sizes_and_attributes(drop_last, sizes):
    loader = Loader(numbered(10), 4, drop_last=drop_last)
    assert [len(x) for x, _ in loader] == sizes
    assert (len(loader), loader.n, loader.batch_size) == (len(sizes), 10, 4)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_batches_are_the_callers_to_change(shuffle, dtype):
    x, y = numbered(6, dtype)
    first = [(bx.copy(), by.copy()) for bx, by in Loader((x, y), 4, shuffle=shuffle)]
    loader = Loader((x, y), 4, shuffle=shuffle)
    for bx, by in loader.batches(0):
        bx[:], by[:] = -1, -1
    assert_same_batches(loader.batches(0), first)


def test_in_order_without_shuffle():
    assert [y.tolist() for _, y in Loader(numbered(5), 2)] == [[0, 1], [2, 3], [4]]


def test_shuffle_gives_each_epoch_its_own_order_of_all_samples():
    loader = Loader(numbered(50), 8, shuffle=True, seed=3)
    orders = []
    for _ in range(3):
        x, y = (np.concatenate(part) for part in zip(*loader, strict=True))
        np.testing.assert_array_equal(x[:, 0, 0, 0], y)  # images and labels move together
        np.testing.assert_array_equal(np.sort(y), np.arange(50))
        orders.append(y)
    orders.append(np.concatenate([y for _, y in Loader(numbered(50), 8, shuffle=True, seed=4)]))
    orders.append(np.arange(50))
    for a, b in itertools.combinations(orders, 2):
        assert (a == b).mean() < 0.2
    stream = np.random.SeedSequence(3, spawn_key=(2, 1))
    np.testing.assert_array_equal(orders[1], np.random.default_rng(stream).permutation(50))


def test_iterating_advances_the_epoch_once_it_is_over():
    loader = Loader(numbered(9), 4, shuffle=True)
    want = [list(loader.batches(epoch)) for epoch in range(3)]
    assert_same_batches(loader, want[0])
    assert loader.epoch == 1
    next(iter(loader))  # broken off
    assert loader.epoch == 1
    assert_same_batches(loader, want[1])
    loader.epoch = 0
    assert_same_batches(loader, want[0])


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("minicnn-loader")]


@pytest.mark.parametrize("prefetch", [0, 1, 3, 100])
def test_prefetching_changes_nothing_but_the_thread(prefetch):
    seen = []

    def spy(x, y, *, rng):
        seen.append((threading.current_thread(), dispatch.fast()))
        return RandomHorizontalFlip()(x, y, rng=rng)

    want = list(Loader(numbered(20), 3, shuffle=True, augment=RandomHorizontalFlip(), seed=2, prefetch=0).batches(1))
    loader = Loader(numbered(20), 3, shuffle=True, augment=spy, seed=2, prefetch=prefetch)
    with using("reference"):
        assert_same_batches(loader.batches(1), want)
        assert_same_batches(loader.batches(1, 4), want[4:])
    assert all((thread is threading.main_thread()) == (prefetch == 0) and not fast for thread, fast in seen)
    assert len({thread for thread, _ in seen}) == (2 if prefetch else 1)
    assert not loader_threads()


def test_the_next_batch_is_made_while_the_caller_works():
    made = [threading.Event() for _ in range(4)]

    def spy(x, y, *, rng):
        made[y[0] // 2].set()
        return x, y

    batches = iter(Loader(numbered(8), 2, augment=spy))
    for number, (_, y) in enumerate(batches):
        assert y[0] // 2 == number
        assert number == 3 or made[number + 1].wait(10)
        assert len(loader_threads()) <= 1
        assert number >= 2 or not made[number + 2].is_set(), "no more than one ahead"


def broken(x, y, *, rng):
    if y[0] == 4:
        raise KeyError("the third batch")
    return x, y


@pytest.mark.parametrize("prefetch", [0, 1, 2])
def test_an_error_in_augment_comes_at_its_batch_and_leaves_no_thread(prefetch):
    batches, seen = Loader(numbered(10), 2, augment=broken, prefetch=prefetch).batches(0), []
    with pytest.raises(KeyError, match="the third batch"):
        seen.extend(y[0] for _, y in batches)
    assert seen == [0, 2]
    assert not loader_threads()


class Stop(BaseException):
    """As KeyboardInterrupt."""


def break_off(batches):
    next(batches)
    batches.close()


def forget(batches):
    next(batches)


def stop_at_once(batches):
    for _ in batches:
        raise Stop


def fail(batches):
    with pytest.raises(Stop):
        stop_at_once(batches)


def throw(batches):
    next(batches)
    with pytest.raises(Stop):
        batches.throw(Stop())


@pytest.mark.parametrize("end", [break_off, forget, fail, throw])
def test_breaking_off_leaves_no_thread(end):
    loader = Loader(numbered(40), 2, augment=lambda x, y, rng: (x, y), prefetch=2)
    batches = loader.batches(0)
    assert not loader_threads(), "nothing starts before the first batch is wanted"
    end(batches)
    del batches
    gc.collect()
    assert not loader_threads()


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 40), size=st.integers(1, 12), seed=st.integers(0, 2**70), epoch=st.integers(0, 300), data=st.data()
)
def test_resuming_gives_the_batches_that_would_have_come(n, size, seed, epoch, data):
    def make():
        return Loader(numbered(n), size, shuffle=True, augment=RandomHorizontalFlip(), seed=seed)

    start = data.draw(st.integers(0, len(make())))
    whole = list(make().batches(epoch))
    assert_same_batches(make().batches(epoch, start), whole[start:])


def test_augmentation_differs_between_batches_epochs_and_from_the_order():
    draws = []

    def spy(x, y, *, rng):
        draws.append(rng.random())
        return x, y

    loader = Loader(numbered(6), 2, shuffle=True, augment=spy, seed=5)
    for epoch in range(2):
        list(loader.batches(epoch))
        for key in [(), (1, epoch), (2, epoch)]:  # of the weights, of a dropout layer, of the epoch's order
            draws.append(np.random.default_rng(np.random.SeedSequence(5, spawn_key=key)).random())
    assert len(set(draws)) == 2 * 3 + 5


def test_augment_may_change_the_labels():
    def one_hot(x, y, *, rng):
        return 1 - x, np.eye(3, dtype=np.float32)[y]

    ((x, y),) = Loader(faces([0, 2, 1]), 4, augment=one_hot)
    np.testing.assert_array_equal(x, 1 - np.float32(51) / np.float32(255))
    np.testing.assert_array_equal(y, np.eye(3)[[0, 2, 1]])


X, Y = numbered(4)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Loader((X, Y), 0), ValueError, "Loader: batch_size is 0, wanted an integer of at least 1"),
        (lambda: Loader((X, Y), 2.0), ValueError, r"batch_size is 2\.0, wanted an integer"),
        (lambda: Loader((X, Y), True), ValueError, "batch_size is True, wanted an integer"),
        (lambda: Loader((X, Y), 2, prefetch=-1), ValueError, "prefetch is -1, wanted an integer of at least 0"),
        (lambda: Loader((X, Y), 2, prefetch=True), ValueError, "prefetch is True, wanted an integer"),
        (lambda: Loader((X, Y), 2, seed=-1), ValueError, "seed is -1, wanted an integer of at least 0"),
        (lambda: Loader((X, Y), 2, augment=3), TypeError, "augment is 3, wanted a callable"),
        (lambda: Loader((X, Y), 5, drop_last=True), ValueError, "drop_last leaves none of 4 samples in batches of 5"),
        (lambda: Loader((X[:0], Y[:0]), 2), ValueError, "the data hold no sample"),
        (lambda: Loader(faces([]), 2), ValueError, "the data hold no sample"),
        (lambda: Loader((X, Y[:3]), 2), ValueError, "4 samples in x but 3 in y"),
        (lambda: Loader(faces([0, -1, 2, -1]), 2), ValueError, "2 of 4 samples are unlabelled"),
        (lambda: Loader((X, Y - 1), 2), ValueError, "1 of 4 samples are unlabelled"),
        (lambda: Loader((X[..., 0], Y), 2), ValueError, r"x has shape \(4, 2, 3\), wanted images \(N, H, W, C\)"),
        (lambda: Loader((X, Y[:, None]), 2), ValueError, r"y is int64 of shape \(4, 1\), wanted labels \(N,\)"),
        (lambda: Loader((X, Y * 0.5), 2), ValueError, r"float64 of shape \(4,\), wanted probabilities \(N, K\)"),
        (lambda: Loader((X.astype(int), Y), 2), TypeError, "x is int64, wanted uint8"),
        (lambda: Loader((X, np.array(list("abcd"))), 2), TypeError, "y is <U1, wanted integer labels or float"),
        (lambda: Loader(X, 2), TypeError, "data is ndarray, wanted a Dataset or a pair"),
        (lambda: Loader((X, Y, Y), 2), TypeError, "data is tuple, wanted a Dataset or a pair"),
        (lambda: Loader((X, Y), 2).batches(-1), ValueError, "epoch is -1, wanted an integer of at least 0"),
        (lambda: Loader((X, Y), 2).batches(0, -1), ValueError, "start is -1, wanted an integer of at least 0"),
        (lambda: Loader((X, Y), 2).batches(0, 3), ValueError, "start is 3, but an epoch has 2 batches"),
        (
            lambda: list(Loader((X, Y), 2, augment=lambda x, y, rng: (x.astype(float), y))),
            ValueError,
            r"augment returned float64 x \(2, 2, 3, 1\) and y \(2,\), wanted float32 and one length",
        ),
        (
            lambda: list(Loader((X, Y), 2, augment=lambda x, y, rng: (x, y[:1]))),
            ValueError,
            r"augment returned float32 x \(2, 2, 3, 1\) and y \(1,\), wanted",
        ),
    ],
)
def test_error_messages(build, error, message):
    with pytest.raises(error, match=message):
        build()
