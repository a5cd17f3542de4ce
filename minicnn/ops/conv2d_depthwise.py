"""Depthwise convolution: every channel has a kernel of its own and meets no other, G = C = O in `conv2d`.

There are no matrices to multiply.  Sixteen channels lie side by side in memory, so each tap of (1) is one multiply-add
of two vectors; in the gradient of w the same is summed over pixels, image by image.  That of x is again a depthwise
convolution, as in `conv2d_direct`.
"""

import numpy as np

from minicnn import threads
from minicnn.backend import Array, empty
from minicnn.ops import conv2d_direct
from minicnn.ops.conv2d_direct import Steps, rectifier, rectify, steps_type
from minicnn.simd import (
    LANES,
    array,
    broadcast,
    f32,
    fma,
    i64,
    image_in,
    image_out,
    inner,
    load_part,
    shared,
    store_part,
    vector_in,
)


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    steps: Steps,
    scale: Array | None = None,
    activation: str = "none",
    slope: float = 0.0,
) -> None:
    """y = φ(scale (x * w) + b), as `conv2d_direct.forward`, for w (kh, kw, 1, C)."""
    scale = np.ones(w.shape[3], "float32") if scale is None else scale
    b = np.zeros(w.shape[3], "float32") if b is None else b
    _forward(x, w, scale, b, y, steps, *rectifier(activation, slope), threads.count())


def backward_data(dy: Array, w: Array, dx: Array, steps: Steps) -> None:
    """dx by (7) and (8); all of it is written."""
    conv2d_direct.backward_data(dy, w, dx, steps, forward)


def backward_weight(x: Array, dy: Array, dw: Array, db: Array, steps: Steps) -> None:
    """dw by (5) and db (float64) by (6)."""
    kh, kw, _, C = dw.shape
    sums = empty((len(x), kh * kw + 1, C))  # of each image: dw, then db
    _backward_weight(x, dy, sums, kh, kw, steps, threads.count())
    total = sums.sum(0, dtype="float64")
    dw[...] = total[:-1].reshape(dw.shape)
    db[...] = total[-1]


@shared((image_in, array(4), vector_in, vector_in, image_out, steps_type, f32, f32, i64))
def _forward(x, w, scale, b, y, steps, slope, floor, T, t):
    """The rows of y of thread t of T."""
    N, OH, OW, C = y.shape
    for row in range(t * N * OH // T, (t + 1) * N * OH // T):
        n, u = row // OH, row % OH
        first, last = _taps(u * steps.down - steps.top, steps.tap_down, w.shape[0], x.shape[1])
        for v in range(OW):
            left, right = _taps(v * steps.right - steps.left, steps.tap_right, w.shape[1], x.shape[2])
            a, to = _place(x, n, u, v, steps), (n * y.strides[0] + u * y.strides[1] + v * y.strides[2]) // 4
            for k in range(0, C, LANES):
                part = min(LANES, C - k)
                total = broadcast(f32(0))
                for i in range(first, last):
                    for j in range(left, right):
                        tap = load_part(w, (i * w.shape[1] + j) * C + k, part)
                        total = fma(load_part(x, a + _step(x, i, j, steps) + k, part), tap, total)  # (1)
                z = fma(total, load_part(scale, k, part), load_part(b, k, part))
                store_part(y, to + k, rectify(z, slope, floor), part)


@shared((image_in, image_in, array(3, writable=True), i64, i64, steps_type, i64))
def _backward_weight(x, dy, sums, kh, kw, steps, T, t):
    """dw and db of the images of thread t of T."""
    N, OH, _, C = dy.shape
    sums[t * N // T : (t + 1) * N // T] = 0
    for row in range(t * N // T * OH, (t + 1) * N // T * OH):
        n, u = row // OH, row % OH
        first, last = _taps(u * steps.down - steps.top, steps.tap_down, kh, x.shape[1])
        for k in range(0, C, LANES):
            for i in range(first, last):
                for j in range(kw):
                    _add_products(x, dy, sums, n, u, i, j, k, (n * (kh * kw + 1) + i * kw + j) * C + k, steps)
            _add_row(dy, sums, n, u, k, (n * (kh * kw + 1) + kh * kw) * C + k)


@inner
def _add_products(x, dy, sums, n, u, i, j, k, to, steps):
    """What row u of image n adds to dw[i, j], of the channels from k on."""  # (5)
    part = min(LANES, dy.shape[3] - k)
    total = load_part(sums, to, part)
    for v in range(dy.shape[2]):
        if 0 <= v * steps.right + j * steps.tap_right - steps.left < x.shape[2]:
            d = load_part(dy, (n * dy.strides[0] + u * dy.strides[1] + v * dy.strides[2]) // 4 + k, part)
            total = fma(load_part(x, _place(x, n, u, v, steps) + _step(x, i, j, steps) + k, part), d, total)
    store_part(sums, to, total, part)


@inner
def _add_row(dy, sums, n, u, k, to):
    """What row u of image n adds to db, of the channels from k on."""  # (6)
    part = min(LANES, dy.shape[3] - k)
    total = load_part(sums, to, part)
    for v in range(dy.shape[2]):
        total = total + load_part(dy, (n * dy.strides[0] + u * dy.strides[1] + v * dy.strides[2]) // 4 + k, part)
    store_part(sums, to, total, part)


@inner
def _taps(start, step, count, size):
    """(first, last) of the taps i with 0 <= start + i step < size."""
    first = min(count, max(0, -(start // step)))
    return first, max(first, min(count, (size - 1 - start) // step + 1))


@inner
def _place(x, n, u, v, steps):
    """Where tap (0, 0) of window (u, v) reads, perhaps outside the image."""
    down, right = u * steps.down - steps.top, v * steps.right - steps.left
    return (n * x.strides[0] + down * x.strides[1] + right * x.strides[2]) // 4


@inner
def _step(x, i, j, steps):
    """How much further tap (i, j) reads."""
    return (i * steps.tap_down * x.strides[1] + j * steps.tap_right * x.strides[2]) // 4
