"""The CPU kernels of `global_avg_pool2d`: an image at a time, shared out among the threads."""

import numpy as np

from minicnn import simd, threads
from minicnn.backend import Array, empty
from minicnn.ops import checks, global_avg_pool2d
from minicnn.ops.global_avg_pool2d import Cache
from minicnn.simd import array, i64
from minicnn.simd.compile import f64


def forward(x: Array) -> tuple[Array, Cache]:
    """See `global_avg_pool2d.forward`."""
    global_avg_pool2d._check(x)
    if x.dtype != "float32":
        return NotImplemented
    N, _, _, C = x.shape
    y, sums = empty((N, C)), np.zeros((N, C))
    _forward(np.ascontiguousarray(x), sums, y, min(threads.count(), N))
    return y, Cache(x.shape, x.dtype.name)


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `global_avg_pool2d.backward`."""
    N, H, W, C = cache.shape
    checks.upstream("global_avg_pool2d", dy, (N, C))
    if dy.dtype != "float32" or cache.dtype != "float32":
        return NotImplemented
    dx = empty(cache.shape)
    _backward(np.ascontiguousarray(dy / np.float32(H * W)), dx, min(threads.count(), N))
    return (dx,)


@simd.shared((array(4), array(2, f64, writable=True), array(2, writable=True), i64))
def _forward(x, sums, y, parts, t):
    N, H, W, C = x.shape
    for n in range(t * N // parts, (t + 1) * N // parts):
        for h in range(H):
            for w in range(W):
                for c in range(C):
                    sums[n, c] += x[n, h, w, c]
        for c in range(C):
            y[n, c] = sums[n, c] / (H * W)  # (1)


@simd.shared((array(2), array(4, writable=True), i64))
def _backward(share, dx, parts, t):
    N, H, W, C = dx.shape
    for n in range(t * N // parts, (t + 1) * N // parts):
        for h in range(H):
            for w in range(W):
                for c in range(C):
                    dx[n, h, w, c] = share[n, c]  # (2)
