"""The CPU kernels of `linear`: the matrix products of simd/gemm.py, and the sum over the rows."""

import math

import numpy as np

from minicnn import simd, threads
from minicnn.backend import FLOAT32, Array, empty
from minicnn.ops import checks, linear
from minicnn.ops.linear import Cache
from minicnn.simd.compile import f64
from minicnn.simd.gemm import gemm_nn, gemm_nt, gemm_tn


def forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Cache]:
    """See `linear.forward`."""
    linear._check(x, w, b)
    if _declined(x, w, b):
        return NotImplemented
    y = empty((*x.shape[:-1], w.shape[1]))
    bias = None if b is None else np.ascontiguousarray(b)
    gemm_nn(_rows(x), _rows(w), _rows(y), bias=bias, threads=threads.count())  # (1)
    return y, Cache(x, w, b is not None)


def backward(dy: Array, cache: Cache, *, input_gradient: bool = True) -> tuple[Array | None, Array, Array | None]:
    """See `linear.backward`."""
    x, w, has_bias = cache
    checks.upstream("linear", dy, (*x.shape[:-1], w.shape[1]))
    if _declined(dy, x, w):
        return NotImplemented
    rows, dw, dx, db = _rows(dy), empty(w.shape), None, None
    if input_gradient:
        dx = empty(x.shape)
        gemm_nt(rows, _rows(w), _rows(dx), threads=threads.count())  # (2)
    gemm_tn(_rows(x), rows, dw, threads=threads.count())  # (3)
    if has_bias:
        sums = np.zeros(w.shape[1])
        _sum_of_rows(np.ascontiguousarray(rows), sums)  # (4)
        db = sums.astype("float32")
    return dx, dw, db


def _declined(*arrays: Array | None) -> bool:
    return any(a is not None and a.dtype != FLOAT32 for a in arrays)


def _rows(x: Array) -> Array:
    """(..., I) -> (rows, I), a view where it can be, with a contiguous last axis."""
    x = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return x if x.strides[1] == x.itemsize or x.shape[1] < 2 else np.ascontiguousarray(x)


@simd.kernel((simd.array(2), simd.array(1, f64, writable=True)))
def _sum_of_rows(x, sums):
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            sums[i] += x[n, i]
