"""The CPU kernel of `warp`: sixteen output numbers at a time, on one thread, for it runs beside a training step.

The lanes are elements of an output row, whatever their channel, so images of any number of channels take one way.
Places are whole numbers as float32, exact below 2²⁴; images and maps that reach farther are declined.
"""

import numpy as np

from minicnn import simd
from minicnn.backend import Array, empty
from minicnn.data.augment.warp import FILL_MODES, check, rounded
from minicnn.simd import address, array, broadcast, f32, fma, greater, i64, inner, load_part, maximum, minimum, select
from minicnn.simd.compile import f64
from minicnn.simd.gather import floor, gather

FARTHEST = 2.0**22
CONSTANT, NEAREST, REFLECT, WRAP = range(len(FILL_MODES))


def warp(x: Array, matrices: np.ndarray, *, fill_mode="nearest", fill_value=0.0, size=None) -> Array:
    """See `warp.warp`."""
    check(x, matrices, fill_mode)
    N, H, W, C = x.shape
    OH, OW = size or (H, W)
    reach = np.abs(matrices).max(initial=0) * (OH + OW + 1)
    if x.dtype not in ("float32", "uint8") or max(H * W * C, reach, OW) > FARTHEST:
        return NotImplemented
    lanes = np.repeat(np.arange(OW, dtype="float32"), C), np.tile(np.arange(C, dtype="float32"), OW)
    y, rounded_matrices = empty((N, OH, OW, C)), matrices.astype("float32").astype("float64")
    _warp(np.ascontiguousarray(x, "float32"), rounded_matrices, *lanes, FILL_MODES.index(fill_mode), fill_value, y)
    return rounded(y) if x.dtype == "uint8" else y


@simd.kernel((array(4), array(3, f64), array(1), array(1), i64, f32, array(4, writable=True)))
def _warp(x, matrices, columns, channels, mode, fill, y):
    N, H, W, C = x.shape
    OH, K = y.shape[1], columns.size
    X, Y, column_of, channel_of = address(x), address(y), address(columns), address(channels)
    for n in range(N):
        a = matrices[n]
        for h in range(OH):
            p0, q0 = np.float32(a[0, 0] * h + a[0, 2]), np.float32(a[1, 0] * h + a[1, 2])
            for k in range(0, K, simd.LANES):
                count = min(simd.LANES, K - k)
                w, c = load_part(column_of, k, count), load_part(channel_of, k, count)
                p = fma(broadcast(np.float32(a[0, 1])), w, broadcast(p0))  # (1)
                q = fma(broadcast(np.float32(a[1, 1])), w, broadcast(q0))  # (1)
                value = _bilinear(X, n * H * W * C, p, q, c, H, W, C, mode, fill)
                simd.store_part(Y, (n * OH + h) * K + k, value, count)


@inner
def _bilinear(X, image, p, q, c, H, W, C, mode, fill):
    """(2) in sixteen points of the image that begins with element `image` of X."""
    i, j, one = floor(p), floor(q), broadcast(np.float32(1))
    f, g = p - i, q - j
    left, right = _column(j, W, C, c, mode), _column(j + one, W, C, c, mode)
    y00, y01 = _pair(X, image, i, j, left, right, H, W, C, mode, fill)
    y10, y11 = _pair(X, image, i + one, j, left, right, H, W, C, mode, fill)
    above, below = fma(g, y01 - y00, y00), fma(g, y11 - y10, y10)
    return fma(f, below - above, above)  # (2)


@inner
def _column(j, W, C, c, mode):
    """Where in a row the element of column j, channel c is."""
    return fma(_source(j, W, mode), broadcast(np.float32(C)), c)


@inner
def _pair(X, image, i, j, left, right, H, W, C, mode, fill):
    """x̃ in row i, columns j and j + 1."""
    row = _source(i, H, mode) * broadcast(np.float32(W * C))
    x0, x1 = gather(X, image, row + left), gather(X, image, row + right)
    if mode == CONSTANT:
        k = broadcast(fill)
        x0 = _if_inside(i, H, _if_inside(j, W, x0, k), k)  # (6)
        x1 = _if_inside(i, H, _if_inside(j + broadcast(np.float32(1)), W, x1, k), k)  # (6)
    return x0, x1


@inner
def _if_inside(i, S, x, otherwise):
    above = select(greater(i, broadcast(np.float32(-1))), x, otherwise)
    return select(greater(broadcast(np.float32(S)), i), above, otherwise)


@inner
def _source(i, S, mode):
    """The place in an axis of S pixels from which place i is filled."""
    last = broadcast(np.float32(S - 1))
    if mode == REFLECT:
        period = broadcast(np.float32(2 * S))
        m = i - period * floor(i / period)
        return minimum(m, period - broadcast(np.float32(1)) - m)  # (4)
    if mode == WRAP:
        period = broadcast(np.float32(S))
        return i - period * floor(i / period)  # (5)
    return minimum(maximum(i, broadcast(np.float32(0))), last)  # (3)
