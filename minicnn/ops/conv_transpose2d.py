"""Transposed convolution: the adjoint of conv2d (Dumoulin & Visin 2016, arXiv:1603.07285, chapter 4).

Forward.  x is (N, H, W, C_in), w is (kh, kw, C_out, C_in), b is (C_out,).  Read as weights of `conv2d`, w leads from
C_out channels to C_in: without a bias, with stride s and padding p, it is a linear map A of images z (N, OH, OW, C_out)
to images (N, H, W, C_in).  This op is its adjoint: Aᵀ is the one map with

    <A z, x> = <z, Aᵀ x> for all z and x,   y = Aᵀ x + b                                 (1)

To write it out, let m = (n, u, v) be a position of x and k = (i, j, o) a tap of an output channel,

    X[m,c] = x[n,u,v,c],   W[k,c] = w[i,j,o,c]                                           (2)

By (4) of `conv2d`, A z = im2col(z) W.  The adjoint of a product with W is one with Wᵀ, and that of im2col is col2im, so
<im2col(z) W, X> = <im2col(z), X Wᵀ> = <z, col2im(X Wᵀ)>, which with (1) gives

    K = X Wᵀ                                                                             (3)
    y = col2im(K) + b                                                                    (4)

or, with ỹ for y and the margin of p around it: every pixel of x stamps its kernel, and overlapping stamps add up,

    ỹ[n,r,q,o] = b[o] + Σ x[n,u,v,c] w[i,j,o,c] over c and all u s + i = r, v s + j = q  (5)

The output's size is one that A takes to H, H = floor((OH + 2p − k)/s) + 1.  That is so for s sizes OH, counted by
0 <= a < s, and output_padding is a:

    OH = (H − 1) s − 2p + k + a,  OW likewise                                            (6)

Backward.  For a linear map M, <dy, M K> = <Mᵀ dy, K>, so the gradient that reaches K is Mᵀ dy.  In (4) M is col2im,
whose adjoint is im2col; (3) is then differentiated as a product, as in `linear`:

    dK[m,k] = im2col(dy)[m,k]                                                            (7)
    dX = dK W,   dx = A dy                                                               (8)
    dW = dKᵀ X                                                                           (9)
    db[o] = Σ dy[n,r,q,o] over n, r and q                                                (10)

In (8), dK W = im2col(dy) W is A dy by (4) of `conv2d`: the gradient of this op is a convolution, as that of a
convolution is this op.
"""

from typing import NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks
from minicnn.ops.windows import Windows, col2im, im2col, slide


class Cache(NamedTuple):
    x: Array
    w: Array
    has_bias: bool
    windows: Windows  # those that A slides over y


@accelerated("numba")
def forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: checks.Size = 1,
    padding: checks.Size = 0,
    output_padding: checks.Size = 0,
) -> tuple[Array, Cache]:
    """y (N, OH, OW, C_out) by (4) from x (N, H, W, C_in), w (kh, kw, C_out, C_in) and b (C_out,) or None.

    Sizes are an int or (height, width).  ValueError where shapes do not fit, TypeError where dtypes are not floating.
    """
    windows = _check(x, w, b, stride, padding, output_padding)
    X, W = _matrices(x, w)  # (2)
    y = col2im((X @ W.T)[None], windows, x.shape[0])  # (3) (4)
    return (y if b is None else y + b), Cache(x, w, b is not None, windows)  # (4)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array | None]:
    """(dx, dw, db) from dy = ∂L/∂y; db is None where there was no bias."""
    x, w, has_bias, windows = cache
    checks.upstream("conv_transpose2d", dy, (x.shape[0], *windows.image, w.shape[2]))
    X, W = _matrices(x, w)  # (2)
    dK = im2col(dy, windows)[0]  # (7)
    dx = (dK @ W).reshape(x.shape)  # (8)
    dw = (dK.T @ X).reshape(w.shape)  # (9)
    db = dy.sum((0, 1, 2), dtype="float64").astype(w.dtype) if has_bias else None  # (10)
    return dx.astype(x.dtype, copy=False), dw.astype(w.dtype, copy=False), db


def _matrices(x: Array, w: Array) -> tuple[Array, Array]:
    """X and W of (2)."""
    (N, H, W, _), (kh, kw, C_out, C_in) = x.shape, w.shape
    return x.reshape(N * H * W, C_in), w.reshape(kh * kw * C_out, C_in)


def _check(x: Array, w: Array, b: Array | None, stride, padding, output_padding) -> Windows:
    checks.image("conv_transpose2d", x)
    checks.floating("conv_transpose2d", w=w, b=b)
    if w.ndim != 4 or w.shape[3] != x.shape[3]:
        raise ValueError(
            f"conv_transpose2d: x {x.shape} (N, H, W, C_in) does not fit w {w.shape} (kh, kw, C_out, C_in)"
        )
    if b is not None and b.shape != w.shape[2:3]:
        raise ValueError(
            f"conv_transpose2d: b has shape {b.shape}, wanted {w.shape[2:3]}, one for each channel of w {w.shape}"
        )
    steps = checks.pair("conv_transpose2d", "stride", stride, least=1)
    margin = checks.pair("conv_transpose2d", "padding", padding, least=0)
    extra = checks.pair("conv_transpose2d", "output_padding", output_padding, least=0)
    if any(a >= s for a, s in zip(extra, steps, strict=True)):
        raise ValueError(f"conv_transpose2d: output_padding {extra} must be smaller than stride {steps}")
    sizes = zip(x.shape[1:3], steps, margin, w.shape[:2], extra, strict=True)
    OH, OW = ((h - 1) * s - 2 * p + k + a for h, s, p, k, a in sizes)  # (6)
    if min(*x.shape[1:3], OH, OW) < 1:
        raise ValueError(
            f"conv_transpose2d: x {x.shape} with a kernel of {w.shape[:2]}, stride {steps} and padding {margin} gives "
            f"an image of {(OH, OW)}"
        )
    return slide("conv_transpose2d", (OH, OW), w.shape[:2], steps, margin)
