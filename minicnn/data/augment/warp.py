"""Resampling a batch of images along affine maps.

Pixel (h, w) of an image stands at the point (h, w): its centre is at whole numbers, rows count downwards.  The matrix
A[n] of image n, (2, 3), says from which point of the input the value of an output pixel is taken; it is the inverse of
the way that things in the image move.

    (p, q) = A[n] (h, w, 1)                                                              (1)

Between the centres of pixels the image is bilinear.  With i = ⌊p⌋, j = ⌊q⌋, f = p − i and g = q − j

    y[n,h,w] = (1 − f)(1 − g) x̃[n,i,j] + (1 − f) g x̃[n,i,j+1] + f (1 − g) x̃[n,i+1,j] + f g x̃[n,i+1,j+1]     (2)

for each channel, where x̃ is the image continued beyond its edges.  Along an axis of S pixels, fill_mode makes it

    nearest     x̃[i] = x[min(max(i, 0), S − 1)]                 a a a a | a b c d | d d d d      (3)
    reflect     x̃[i] = x[min(m, 2S − 1 − m)],  m = i mod 2S     d c b a | a b c d | d c b a      (4)
    wrap        x̃[i] = x[i mod S]                               a b c d | a b c d | a b c d      (5)
    constant    x̃[i] = fill_value outside 0..S − 1              k k k k | a b c d | k k k k      (6)

So y is continuous in A whatever the mode, and where p and q are whole numbers it is x̃ itself.

Names.  They are Keras's (keras.ops.image.affine_transform).  scipy.ndimage calls them nearest, reflect, grid-wrap and
grid-constant.  Keras's older ImageDataGenerator hands the name on to SciPy, whose own "constant" does not blend at the
edge (a point half a pixel outside is all fill_value), and whose own "wrap" has the period S − 1.

Rounding.  float64 images are computed in float64; float32 and uint8 in float32, where the entries of A, then a₀ h + a₂,
then a₁ w + (a₀ h + a₂) are each rounded once.  uint8 pixels are the whole numbers nearest to (2), halves upwards.
"""

from typing import Any

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
DTYPES = ("float32", "float64", "uint8")


@accelerated("numba")
def warp(
    x: Array,
    matrices: np.ndarray,
    *,
    fill_mode: str = "nearest",
    fill_value: float = 0.0,
    size: tuple[int, int] | None = None,
) -> Array:
    """y (N, OH, OW, C) by (2), in the dtype of x.

    x         images (N, H, W, C), float32, float64 or uint8, on the host or on a device
    matrices  A, (N, 2, 3), on the host
    size      (OH, OW); the size of x by default

    ValueError for other shapes, dtypes and modes, and for matrices that are not finite.
    """
    check(x, matrices, fill_mode)
    xp, dtype = array_module(x), np.dtype("float64" if x.dtype == "float64" else "float32")
    p, q = _positions(xp, matrices.astype(dtype), size or x.shape[1:3], dtype)
    i, j = xp.floor(p), xp.floor(q)
    f, g = (p - i)[..., None], (q - j)[..., None]
    pixels = _Pixels(x, dtype, fill_mode, fill_value)
    above, below = (_between(pixels(row, j), pixels(row, j + 1), g) for row in (i, i + 1))
    y = _between(above, below, f)  # (2)
    return rounded(y) if x.dtype == "uint8" else y


def check(x: Array, matrices: np.ndarray, fill_mode: str) -> None:
    """As `warp` says."""
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"warp: x has shape {x.shape}, wanted images (N, H, W, C) of a pixel or more")
    if x.dtype not in DTYPES:
        raise ValueError(f"warp: x is {x.dtype}, wanted one of {', '.join(DTYPES)}")
    if matrices.shape != (len(x), 2, 3):
        raise ValueError(f"warp: matrices have shape {matrices.shape}, wanted {(len(x), 2, 3)}")
    if not np.isfinite(matrices).all():
        raise ValueError("warp: matrices hold NaN or Inf, wanted numbers")
    if fill_mode not in FILL_MODES:
        raise ValueError(f"warp: fill_mode is {fill_mode!r}, wanted one of {', '.join(FILL_MODES)}")


def rounded(y: Array) -> Array:
    """y as uint8: the nearest whole number from 0 to 255, halves upwards."""
    xp = array_module(y)
    return xp.clip(xp.floor(y + 0.5), 0, 255).astype("uint8")


def _positions(xp, matrices: np.ndarray, size: tuple[int, int], dtype: np.dtype) -> tuple[Array, Array]:
    """p and q, (N, OH, OW)."""
    a = xp.asarray(matrices.astype("float64"))[..., None, None]
    h, w = xp.arange(size[0], dtype="float64")[:, None], xp.arange(size[1], dtype="float64")
    start = (a[:, :, 0] * h + a[:, :, 2]).astype(dtype)
    both = (a[:, :, 1] * w + start).astype(dtype)  # (1)
    return both[:, 0], both[:, 1]


class _Pixels:
    """x̃: called with rows and columns (N, OH, OW), whole numbers as floats, gives (N, OH, OW, C)."""

    def __init__(self, x: Array, dtype: np.dtype, fill_mode: str, fill_value: float):
        self.shape, self.dtype, self.fill_mode, self.fill_value = x.shape, dtype, fill_mode, fill_value
        self.flat = x.reshape(-1, x.shape[3])

    def __call__(self, i: Array, j: Array) -> Array:
        xp, (N, H, W, _) = array_module(i), self.shape
        rows, columns = (_source(xp, k, S, self.fill_mode) for k, S in ((i, H), (j, W)))
        image = xp.arange(N)[:, None, None]
        found = self.flat[(image * H + rows) * W + columns].astype(self.dtype)
        if self.fill_mode == "constant":
            inside = (rows == i) & (columns == j)
            found = xp.where(inside[..., None], found, self.dtype.type(self.fill_value))  # (6)
        return found


def _source(xp, i: Array, S: int, fill_mode: str) -> Any:
    """The place in an axis of S pixels from which place i is filled."""
    if fill_mode == "reflect":
        m = i % (2 * S)
        i = xp.minimum(m, 2 * S - 1 - m)  # (4)
    elif fill_mode == "wrap":
        i = i % S  # (5)
    return xp.clip(i, 0, S - 1).astype("int64")  # (3)


def _between(x: Array, y: Array, t: Array) -> Array:
    """(1 - t) x + t y: exactly x where t is 0, and where x and y are equal."""
    return x + t * (y - x)
