"""Two-dimensional max pooling.

Forward.  x is (N, H, W, C).  Around the image lie p rows and columns of -∞, which never win.  Window (u, v) of channel
c holds kh kw entries x̃[n, u sh + i, v sw + j, c]; with ceil_mode, where the last window hangs over the edge, the
missing ones are -∞ too.  The output's height and width are those of `windows`, (1) or (2) there.

    y[n,u,v,c] = max_ij x̃[n, u sh + i, v sw + j, c]                                      (1)
    t[n,u,v,c] = the first (i, j) inside the image, row by row, that attains it          (2)

Backward.  Away from ties a small change of x leaves t as it is, so y[n,u,v,c] is the entry t points at, and

    ∂y[n,u,v,c]/∂x̃[n,r,q,c] = 1 if (r, q) = (u sh + i, v sw + j) for (i, j) = t[n,u,v,c], else 0        (3)

A pixel may win in several windows that overlap, so its gradient is the sum over them:

    dx̃[n,r,q,c] = Σ_uv dy[n,u,v,c] [(r, q) is where t[n,u,v,c] points]                   (4)

and dx is dx̃ without its margin.  At a tie there is no derivative; (2) makes the first entry take all, as PyTorch does.
A NaN in a window makes y NaN, and t points at the last one.

Memory.  The cache holds t, in bytes (for kernels of up to 256 taps), and sizes; neither x nor y.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks
from minicnn.ops.windows import Windows, slide


class Cache(NamedTuple):
    argmax: Array  # t as i kw + j
    windows: Windows


@accelerated("numba")
def forward(
    x: Array,
    *,
    kernel_size: checks.Size,
    stride: checks.Size | None = None,
    padding: checks.Size = 0,
    ceil_mode: bool = False,
) -> tuple[Array, Cache]:
    """y (N, OH, OW, C) by (1); stride defaults to kernel_size; padding is at most half the kernel."""
    windows = pool_windows("max_pool2d", x, kernel_size, stride, padding, ceil_mode)
    xp, (N, _, _, C), kw = array_module(x), x.shape, windows.kernel[1]
    padded = windows.pad(x, -xp.inf)
    y = xp.full((N, *windows.out, C), -xp.inf, x.dtype)
    argmax = xp.broadcast_to(_first_inside(xp, windows), y.shape)
    for i, j, where in windows.taps():
        entry = padded[where]
        better = (entry > y) | (entry != entry)  # a NaN beats every number
        argmax = xp.where(better, argmax.dtype.type(i * kw + j), argmax)  # (2)
        y = xp.where(better, entry, y)  # (1)
    return y, Cache(argmax, windows)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    argmax, windows = cache
    checks.upstream("max_pool2d", dy, argmax.shape)
    xp, kw = array_module(dy), windows.kernel[1]
    padded = xp.zeros(windows.padded_shape(dy.shape[0], dy.shape[3]), dy.dtype)
    for i, j, where in windows.taps():
        padded[where] += xp.where(argmax == i * kw + j, dy, 0)  # (3) (4)
    return (xp.ascontiguousarray(windows.crop(padded)),)


def _first_inside(xp, windows: Windows) -> Array:
    """The first tap of each window inside the image, (OH, OW, 1): what t is if the image is -∞ there."""
    kh, kw = windows.kernel
    rows, columns = (
        xp.maximum(p - s * xp.arange(O), 0)
        for p, s, O in zip(windows.padding, windows.stride, windows.out, strict=True)
    )
    return (rows[:, None, None] * kw + columns[:, None]).astype("uint8" if kh * kw <= 256 else "int32")  # (2)


def pool_windows(op: str, x: Array, kernel_size, stride, padding, ceil_mode: bool) -> Windows:
    """The windows of a pooling op, its arguments checked as PyTorch checks them."""
    checks.image(op, x)
    kernel = checks.pair(op, "kernel_size", kernel_size, least=1)
    margin = checks.pair(op, "padding", padding, least=0)
    if any(2 * p > k for p, k in zip(margin, kernel, strict=True)):
        raise ValueError(f"{op}: padding {margin} is more than half of kernel_size {kernel}")
    step = kernel if stride is None else checks.pair(op, "stride", stride, least=1)
    return slide(op, x.shape[1:3], kernel, step, margin, ceil_mode=bool(ceil_mode))
