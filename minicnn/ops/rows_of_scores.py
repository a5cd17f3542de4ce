"""The CPU kernels of `softmax` and `log_softmax`: row after row of K scores, sixteen scores at once."""

import math

import numpy as np

from minicnn import simd, threads
from minicnn.backend import Array, empty
from minicnn.simd import LANES, broadcast, greater, i64, inner, lanes, select, vector_in, vector_out, whole
from minicnn.simd.compile import OPTIONS, Kernel
from minicnn.simd.functions import exp
from minicnn.simd.parts import inner_with

SHARE = 1 << 12  # scores that are worth a thread
# x - M - ln S as it stands: x - (M + ln S) loses the small logarithm of scores like 10⁴
in_this_order = inner_with(OPTIONS | {"fastmath": {"contract", "nsz"}})


def values(x: Array, logarithm: bool) -> Array:
    """y of x, or NotImplemented where x is not float32."""
    return _run(_values, logarithm, x)


def gradients(dy: Array, y: Array, logarithm: bool) -> Array:
    """dx of dy and y, or NotImplemented where these are not float32."""
    return _run(_gradients, logarithm, dy, y)


def _run(kernel: Kernel, logarithm: bool, *arrays: Array) -> Array:
    if any(a.dtype != "float32" for a in arrays):
        return NotImplemented
    *leading, K = arrays[0].shape
    result, rows = empty(arrays[0].shape), math.prod(leading)
    parts = min(threads.count(), rows, -(-result.size // SHARE))
    kernel(*(np.ascontiguousarray(a).reshape(-1) for a in arrays), result.reshape(-1), rows, K, logarithm, parts)
    return result


@simd.shared((vector_in, vector_out, *[i64] * 4))
def _values(x, y, rows, K, logarithm, parts, t):
    for row in range(t * rows // parts, (t + 1) * rows // parts):
        if logarithm:
            log_of_softmax(x, y, row * K, K)
        else:
            _softmax(x, y, row * K, K)


@simd.shared((vector_in, vector_in, vector_out, *[i64] * 4))
def _gradients(dy, y, dx, rows, K, logarithm, parts, t):
    for row in range(t * rows // parts, (t + 1) * rows // parts):
        _gradient(dy, y, dx, row * K, K, logarithm)


@in_this_order
def log_of_softmax(x, y, i, K):
    """y[i:i+K] = ln softmax of x[i:i+K]."""
    largest = _largest(x, i, K)
    log_of_sum = broadcast(math.log(_sum_of_exp(x, i, K, largest)))
    for k in range(i, i + K, LANES):
        n = min(LANES, i + K - k)
        simd.store_part(y, k, simd.load_part(x, k, n) - broadcast(largest) - log_of_sum, n)


@inner
def _softmax(x, y, i, K):
    largest = _largest(x, i, K)
    total = broadcast(_sum_of_exp(x, i, K, largest))
    for k in range(i, i + K, LANES):
        n = min(LANES, i + K - k)
        simd.store_part(y, k, exp(simd.load_part(x, k, n) - broadcast(largest)) / total, n)


@inner
def _gradient(dy, y, dx, i, K, logarithm):
    sums = broadcast(0)
    for k in range(i, i + K, LANES):
        n = min(LANES, i + K - k)
        d = simd.load_part(dy, k, n)
        sums = sums + (d if logarithm else d * simd.load_part(y, k, n))
    total = broadcast(simd.total(sums))
    for k in range(i, i + K, LANES):
        n = min(LANES, i + K - k)
        d, v = simd.load_part(dy, k, n), simd.load_part(y, k, n)
        simd.store_part(dx, k, d - exp(v) * total if logarithm else v * (d - total), n)


@inner
def _largest(x, i, K):
    """The largest of x[i:i+K], or NaN where there is one."""
    largest = x[i]
    for k in range(i + 1, i + K):
        largest = largest if x[k] <= largest else x[k]
        if not x[k] == x[k]:
            return x[k]
    return largest


@inner
def _sum_of_exp(x, i, K, largest):
    sums = broadcast(0)
    for k in range(i, i + K, LANES):
        n = min(LANES, i + K - k)
        e = exp(simd.load_part(x, k, n) - broadcast(largest))
        sums = sums + select(greater(broadcast(n), whole(lanes())), e, broadcast(0))
    return simd.total(sums)
