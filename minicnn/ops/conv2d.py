"""Two-dimensional convolution (cross-correlation, as every deep-learning library has it), as im2col + GEMM + col2im.

Forward.  x is (N, H, W, C), w is (kh, kw, C/G, O) for G groups, b is (O,).  Take G = 1 first.  With p zeros around
the image, stride s and dilation d, the padded image x̃ and output position (u, v):

    y[n,u,v,o] = b[o] + Σ_ijc x̃[n, u s + i d, v s + j d, c] w[i,j,c,o]                   (1)

for 0 <= u < OH, 0 <= v < OW, where the output's height and width follow from the last position a window reaches:

    OH = floor((H + 2 ph - dh (kh - 1) - 1) / sh) + 1,  OW likewise                      (2)

(The course's formula is (2) with d = 1.  Two slips of the reports: without the floor and the + 1, and k - 1 for k.)
Write m = (n, u, v) for a row and k = (i, j, c) for a column of the matrix

    X[m,k] = x̃[n, u s + i d, v s + j d, c]                                               (3)   im2col

Each row is one window, and (1) is a matrix product

    Y = X W + b,   W[k,o] = w[i,j,c,o]                                                   (4)   GEMM

Backward.  Given dY = ∂L/∂Y, L depends on W[k,o] through Y[m,o] of every m, by (4) with ∂Y[m,o]/∂W[k,o] = X[m,k]:

    dW[k,o] = Σ_m X[m,k] dY[m,o],       dW = Xᵀ dY                                       (5)
    db[o]   = Σ_m dY[m,o]                                                                (6)
    dX[m,k] = Σ_o dY[m,o] W[k,o],       dX = dY Wᵀ                                       (7)

A pixel of x̃ stands in X once for every window that reads it, so by (3) its gradient is the sum over those places:

    dx̃[n,r,q,c] = Σ dX[m,k] over all (m, k) with u s + i d = r and v s + j d = q         (8)   col2im

and dx is dx̃ without the margin, for the zeros there are constants.  im2col is linear in x; (8) is its transpose:
<im2col(x), D> = <x, col2im(D)> for all x and D, which a test asserts.

Groups.  Channels and outputs fall into G equal parts; part g of y sees part g of x alone.  (3)-(8) hold part by part,
with a leading axis g on X, W, Y.  Depthwise convolution is G = C.

Memory.  The cache holds x and w, which exist already; X, kh kw times the size of x, is built again in backward.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks
from minicnn.ops.windows import Windows, col2im, im2col, slide


class Cache(NamedTuple):
    x: Array
    w: Array
    has_bias: bool
    windows: Windows
    groups: int


@accelerated("numba")
def forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: checks.Size = 1,
    padding: checks.Size = 0,
    dilation: checks.Size = 1,
    groups: int = 1,
) -> tuple[Array, Cache]:
    """y (N, OH, OW, O) by (4) from x (N, H, W, C), w (kh, kw, C/groups, O) and b (O,) or None.

    Sizes are an int or (height, width).  ValueError where shapes do not fit, TypeError where dtypes are not floating.
    """
    windows = _check(x, w, b, stride, padding, dilation, groups)
    (N, O), (OH, OW) = (x.shape[0], w.shape[3]), windows.out
    Y = im2col(x, windows, groups) @ _matrix(w, groups)  # (3) (4)
    y = array_module(x).moveaxis(Y, 0, 1).reshape(N, OH, OW, O)
    return (y if b is None else y + b), Cache(x, w, b is not None, windows, groups)  # (4)


@accelerated("numba")
def backward(dy: Array, cache: Cache, *, input_gradient: bool = True) -> tuple[Array | None, Array, Array | None]:
    """(dx, dw, db) from dy = ∂L/∂y; db is None where there was no bias, dx without input_gradient."""
    x, w, has_bias, windows, groups = cache
    xp, (N, O), (OH, OW) = array_module(x), (x.shape[0], w.shape[3]), windows.out
    checks.upstream("conv2d", dy, (N, OH, OW, O))
    dY = xp.moveaxis(dy.reshape(N * OH * OW, groups, O // groups), 1, 0)
    X = im2col(x, windows, groups)  # (3)
    dw = X.swapaxes(1, 2) @ dY  # (5)
    dw = xp.moveaxis(dw, 0, 1).reshape(w.shape)
    db = dy.sum((0, 1, 2), dtype="float64").astype(w.dtype) if has_bias else None  # (6)
    dw = dw.astype(w.dtype, copy=False)
    if not input_gradient:
        return None, dw, db
    dX = dY @ _matrix(w, groups).swapaxes(1, 2)  # (7)
    return col2im(dX, windows, N).astype(x.dtype, copy=False), dw, db  # (8)


def _matrix(w: Array, groups: int) -> Array:
    """(kh, kw, C/G, O) -> (G, kh kw C/G, O/G), the W of (4) for each group."""
    kh, kw, c, O = w.shape
    return array_module(w).moveaxis(w.reshape(kh * kw * c, groups, O // groups), 1, 0)


def _check(x: Array, w: Array, b: Array | None, stride, padding, dilation, groups) -> Windows:
    checks.image("conv2d", x)
    checks.floating("conv2d", w=w, b=b)
    if w.ndim != 4:
        raise ValueError(f"conv2d: w has shape {w.shape}, wanted four axes (kh, kw, C_in/groups, C_out)")
    C, (kh, kw, c, O) = x.shape[3], w.shape
    if groups < 1 or C % groups or O % groups:
        raise ValueError(f"conv2d: groups={groups} must divide the {C} channels of x and the {O} of y")
    if c != C // groups:
        raise ValueError(
            f"conv2d: x {x.shape} (N, H, W, C) does not fit w {w.shape} (kh, kw, C_in/groups, C_out): x has {C} "
            f"channels in {groups} group(s), w wants {c} in each"
        )
    if b is not None and b.shape != (O,):
        raise ValueError(f"conv2d: b has shape {b.shape}, wanted ({O},), one for each output channel of w {w.shape}")
    return slide(
        "conv2d",
        x.shape[1:3],
        (kh, kw),
        checks.pair("conv2d", "stride", stride, least=1),
        checks.pair("conv2d", "padding", padding, least=0),
        checks.pair("conv2d", "dilation", dilation, least=1),
    )
