"""The CPU kernels of `conv2d_act`: those of `conv2d`, which apply (1) and (2) to y before they store it."""

import numpy as np

from minicnn import threads
from minicnn.backend import Array, empty
from minicnn.ops import checks, conv2d, conv2d_act, conv2d_numba
from minicnn.ops.conv2d_act import Cache
from minicnn.simd import (
    LANES,
    broadcast,
    f32,
    greater,
    i64,
    image_in,
    image_out,
    inner,
    load_part,
    select,
    shared,
    store_part,
)


def forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    scale: Array | None = None,
    *,
    activation: str = "none",
    slope: float = 0.01,
    stride: checks.Size = 1,
    padding: checks.Size = 0,
    dilation: checks.Size = 1,
    groups: int = 1,
) -> tuple[Array, Cache]:
    """See `conv2d_act.forward`."""
    conv2d_act.check(w, scale, activation, slope)
    windows = conv2d._check(x, w, b, stride, padding, dilation, groups)
    if conv2d_numba.declined(x, w, b, scale):
        return NotImplemented
    x, kept = conv2d_numba.image(x), np.ascontiguousarray(w)
    y = empty((x.shape[0], *windows.out, w.shape[3]))
    conv2d_numba.compute(x, kept, b, y, windows, groups, scale, activation, float(slope))
    return y, Cache(conv2d.Cache(x, kept, b is not None, windows, groups), scale, y, activation, float(slope))


def backward(
    dy: Array, cache: Cache, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array | None, Array | None]:
    """See `conv2d_act.backward`."""
    conv, scale, y, activation, slope = cache
    checks.upstream("conv2d_act", dy, y.shape)
    if conv2d_numba.declined(dy, conv.x, conv.w, scale, y):
        return NotImplemented
    dz = conv2d_numba.image(dy)
    if activation != "none":
        dz = empty(y.shape)
        slope = slope if activation == "leaky_relu" else 0.0
        _rectifier(conv2d_numba.image(dy), conv2d_numba.image(y), dz, slope, threads.count())  # (4)
    w, scaled = conv.w, conv if scale is None else conv._replace(w=conv.w * scale)
    dx, G, db = conv2d_numba.backward(dz, scaled, input_gradient=input_gradient)  # (7)
    if scale is None:
        return dx, G, db, None
    return dx, G * scale, db, (w * G).sum((0, 1, 2), dtype="float64").astype("float32")  # (5) (6)


@shared((image_in, image_in, image_out, f32, i64))
def _rectifier(dy, y, dz, slope, T, t):
    """dz of the rows of thread t of T."""
    N, H, W, C = y.shape
    zero = broadcast(f32(0))
    for row in range(t * N * H // T, (t + 1) * N * H // T):
        for v in range(W):
            a, b, to = _place(dy, row, v), _place(y, row, v), _place(dz, row, v)
            for k in range(0, C, LANES):
                part = min(LANES, C - k)
                d = load_part(dy, a + k, part)
                below = broadcast(slope) * d if slope > 0 else zero  # not 0 ∞ for relu
                store_part(dz, to + k, select(greater(load_part(y, b + k, part), zero), d, below), part)


@inner
def _place(x, row, v):
    """The first element of pixel v of a row, counted through all images."""
    return (row // x.shape[1] * x.strides[0] + row % x.shape[1] * x.strides[1] + v * x.strides[2]) // 4
