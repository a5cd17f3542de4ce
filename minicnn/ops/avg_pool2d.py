"""Two-dimensional average pooling.

Forward.  x is (N, H, W, C), with p rows and columns of zeros around it.  Window (u, v) covers the padded rows
u sh .. u sh + kh - 1 and columns v sw .. v sw + kw - 1; the output's size is (1) or, with ceil_mode, (2) of `windows`.

    y[n,u,v,c] = 1/D[u,v] Σ_ij x̃[n, u sh + i, v sw + j, c]                               (1)

D counts positions of the window: those inside the padded image of H + 2 ph rows and W + 2 pw columns where
count_include_pad, else those inside the image.  (With ceil_mode a window may hang over the padded edge: what hangs over
is counted in neither.)  A window is a product of a row range and a column range, so D is a product too:

    D[u,v] = rows[u] columns[v],   rows[u] = |{u sh, .., u sh + kh - 1} ∩ {lo, .., hi - 1}|                (2)

with (lo, hi) = (0, H + 2 ph) where count_include_pad, else (ph, ph + H); columns likewise.

Backward.  y is linear in x: by (1), ∂y[n,u,v,c]/∂x̃[n,r,q,c] = 1/D[u,v] for every (r, q) in the window, so

    dx̃[n,r,q,c] = Σ dy[n,u,v,c]/D[u,v] over the windows (u, v) that hold (r, q)          (3)

and dx is dx̃ without its margin.  The cache holds sizes alone.
"""

from typing import NamedTuple

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks
from minicnn.ops.max_pool2d import pool_windows
from minicnn.ops.windows import Windows


class Cache(NamedTuple):
    windows: Windows
    count_include_pad: bool
    shape: tuple[int, ...]  # of y


@accelerated("numba")
def forward(
    x: Array,
    *,
    kernel_size: checks.Size,
    stride: checks.Size | None = None,
    padding: checks.Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Cache]:
    """y (N, OH, OW, C) by (1); stride defaults to kernel_size; padding is at most half the kernel."""
    windows = pool_windows("avg_pool2d", x, kernel_size, stride, padding, ceil_mode)
    padded = windows.pad(x)
    total = array_module(x).zeros((x.shape[0], *windows.out, x.shape[3]), x.dtype)
    for _, _, where in windows.taps():
        total += padded[where]  # (1)
    return total / _divisor(x, windows, count_include_pad), Cache(windows, count_include_pad, total.shape)  # (1)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    windows, count_include_pad, shape = cache
    checks.upstream("avg_pool2d", dy, shape)
    xp = array_module(dy)
    share = dy / _divisor(dy, windows, count_include_pad)
    padded = xp.zeros(windows.padded_shape(dy.shape[0], dy.shape[3]), dy.dtype)
    for _, _, where in windows.taps():
        padded[where] += share  # (3)
    return (xp.ascontiguousarray(windows.crop(padded)),)


def _divisor(like: Array, windows: Windows, count_include_pad: bool) -> Array:
    """D of (2) as (OH, OW, 1), on the device and of the dtype of `like`."""
    counts = []
    for W, k, s, p, O in zip(windows.image, windows.kernel, windows.stride, windows.padding, windows.out, strict=True):
        lo, hi = (0, W + 2 * p) if count_include_pad else (p, p + W)
        start = np.arange(O) * s
        counts.append(np.minimum(start + k, hi) - np.maximum(start, lo))  # (2)
    return array_module(like).asarray(np.outer(*counts)[:, :, None].astype(like.dtype))  # (2)
