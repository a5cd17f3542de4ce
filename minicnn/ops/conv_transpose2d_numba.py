"""The CPU kernels of `conv_transpose2d`: those of `conv2d`, for by (1) the one is the adjoint of the other."""

import numpy as np

from minicnn.backend import Array, empty
from minicnn.ops import checks, conv2d_numba, conv_transpose2d
from minicnn.ops.conv2d_direct import Steps
from minicnn.ops.conv2d_numba import BACKWARD_DATA, BACKWARD_WEIGHT, declined, image
from minicnn.ops.conv_transpose2d import Cache
from minicnn.ops.windows import Windows


def forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: checks.Size = 1,
    padding: checks.Size = 0,
    output_padding: checks.Size = 0,
) -> tuple[Array, Cache]:
    """See `conv_transpose2d.forward`."""
    windows = conv_transpose2d._check(x, w, b, stride, padding, output_padding)
    if declined(x, w, b):
        return NotImplemented
    x, w, y = image(x), np.ascontiguousarray(w), empty((x.shape[0], *windows.image, w.shape[2]))
    row = conv2d_numba._choose(BACKWARD_DATA, y.shape, w.shape, windows, 1)
    where = (windows.padding, row.tile) if row.tile else (_steps(windows),)
    row.module.backward_data(x, w, y, *where)  # (3) (4)
    if b is not None:
        y += b
    return y, Cache(x, w, b is not None, windows)


def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array | None]:
    """See `conv_transpose2d.backward`."""
    x, w, has_bias, windows = cache
    checks.upstream("conv_transpose2d", dy, (x.shape[0], *windows.image, w.shape[2]))
    if declined(dy, x, w):
        return NotImplemented
    dy, x, w = image(dy), image(x), np.ascontiguousarray(w)
    dx, dw, unused = empty(x.shape), empty(w.shape), np.empty(w.shape[3])
    conv2d_numba.compute(dy, w, None, dx, windows, 1)  # (8)
    row = conv2d_numba._choose(BACKWARD_WEIGHT, dy.shape, w.shape, windows, 1)
    if row.tile:
        row.module.backward_weight(dy, x, dw, windows.padding, row.tile)  # (9)
    else:
        row.module.backward_weight(dy, x, dw, unused, _steps(windows))
    db = dy.sum((0, 1, 2), dtype="float64").astype("float32") if has_bias else None  # (10)
    return dx, dw, db


def _steps(windows: Windows) -> Steps:
    return Steps(*windows.stride, *windows.padding, *windows.dilation)
