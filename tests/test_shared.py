"""Kernels that all threads run, each its part."""

import numba
import numpy as np
import pytest

from minicnn.simd import array, f32, i64, inner, shared


@inner
def first_of(length, t, threads):
    return length * t // threads


@shared((array(1), array(1, writable=True), f32, i64))
def scaled(x, y, factor, threads, t):
    for i in range(first_of(len(x), t, threads), first_of(len(x), t + 1, threads)):
        y[i] = factor * x[i] + 100 * t


@shared((array(2, strided=True), array(1, i64, writable=True), i64))
def shape_of(x, shape, threads, t):
    if t == threads - 1:
        shape[0], shape[1] = x.shape


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("most", [1, numba.config.NUMBA_NUM_THREADS])
def test_each_part_is_computed_once(threads, most):
    x, y, before = np.arange(100, dtype="float32"), np.zeros(100, "float32"), numba.get_num_threads()
    numba.set_num_threads(most)
    try:
        scaled(x, y, 0.5, threads)
    finally:
        numba.set_num_threads(before)
    part = np.concatenate([np.full(100 * (t + 1) // threads - 100 * t // threads, t) for t in range(threads)])
    np.testing.assert_array_equal(y, 0.5 * x + 100 * part)


def test_read_only_and_strided_arguments():
    x, shape = np.zeros((6, 8), "float32")[::2, ::3], np.zeros(2, "int64")
    x.flags.writeable = False
    shape_of(x, shape, 2)
    assert shape.tolist() == [3, 3]


def test_arguments_of_other_types_are_errors():
    with pytest.raises(TypeError, match="No matching definition"):
        scaled(np.zeros(3), np.zeros(3, "float32"), 1.0, 1)
