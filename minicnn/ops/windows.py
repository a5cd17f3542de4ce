"""The windows that convolution and pooling slide over an image.

Along one axis of length W with p zeros on both sides, windows of k taps that lie d apart, and stride s: tap i of
window o reads the padded position o s + i d.  The last tap of the last window may reach W + 2p - 1 and no further, so
the number of windows is

    O = floor((W + 2p - d (k - 1) - 1) / s) + 1                                          (1)

which for d = 1 is the course's floor((W + 2p - k) / s) + 1.  (One report states (W + 2p - (k - 1)) / s: without the
floor it is no whole number where s does not divide, and for s > 1 it differs from (1) even where it is: W = 5, k = 3,
p = 0, s = 2 has 2 windows, not 1.5.)  With ceil_mode the last window may hang over the right edge,

    O = ceil((W + 2p - d (k - 1) - 1) / s) + 1, less 1 if (O - 1) s >= W + p             (2)

the second part because a window must not start in the right padding.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

from minicnn.backend import Array, array_module

Pair = tuple[int, int]


class Windows(NamedTuple):
    """All windows of one size over one image; each field is (height, width)."""

    image: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    out: Pair

    def taps(self) -> Iterator[tuple[int, int, tuple[slice, slice, slice]]]:
        """(i, j, where): where selects, from the padded (N, H, W, C), what tap (i, j) of every window reads."""
        (sh, sw), (dh, dw), (OH, OW) = self.stride, self.dilation, self.out
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                rows = slice(i * dh, i * dh + (OH - 1) * sh + 1, sh)
                columns = slice(j * dw, j * dw + (OW - 1) * sw + 1, sw)
                yield i, j, (slice(None), rows, columns)

    def margins(self) -> tuple[Pair, Pair]:
        """((top, bottom), (left, right)): what surrounds the image so that every tap reads something."""
        top, left = self.padding
        reach = [
            (o - 1) * s + d * (k - 1) + 1
            for o, s, d, k in zip(self.out, self.stride, self.dilation, self.kernel, strict=True)
        ]
        return (top, max(top, reach[0] - top - self.image[0])), (left, max(left, reach[1] - left - self.image[1]))

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """(N, H, W, C) with its margins filled with value."""
        rows, columns = self.margins()
        if rows == columns == (0, 0):
            return x
        return array_module(x).pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=value)

    def crop(self, padded: Array) -> Array:
        """The image inside its margins: the adjoint of padding with zeros."""
        (top, left), (H, W) = self.padding, self.image
        return padded[:, top : top + H, left : left + W]

    def padded_shape(self, batch: int, channels: int) -> tuple[int, int, int, int]:
        """The shape of `pad(x)`."""
        (top, bottom), (left, right) = self.margins()
        return batch, top + self.image[0] + bottom, left + self.image[1] + right, channels


@functools.lru_cache(1024)
def slide(
    op: str, image: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1), ceil_mode: bool = False
) -> Windows:
    """The windows of (1), or of (2) with ceil_mode.  ValueError where not even one fits."""
    out = []
    for W, k, s, p, d in zip(image, kernel, stride, padding, dilation, strict=True):
        room = W + 2 * p - d * (k - 1) - 1
        if room < 0:
            raise ValueError(
                f"{op}: a kernel of {kernel} (dilation {dilation}) does not fit an image of {image} "
                f"with padding {padding}"
            )
        O = -(-room // s) + 1 if ceil_mode else room // s + 1  # (1) (2)
        if ceil_mode and (O - 1) * s >= W + p:
            O -= 1  # (2)
        out.append(O)
    return Windows(image, kernel, stride, padding, dilation, (out[0], out[1]))


def im2col(x: Array, windows: Windows, groups: int = 1) -> Array:
    """(N, H, W, C) -> (groups, N OH OW, kh kw C/groups): a row holds what one window reads of one group of channels."""
    xp = array_module(x)
    (N, _, _, C), (kh, kw), (OH, OW) = x.shape, windows.kernel, windows.out
    padded = windows.pad(x).reshape(*windows.padded_shape(N, groups), C // groups)
    columns = xp.empty((groups, N, OH, OW, kh, kw, C // groups), x.dtype)
    for i, j, where in windows.taps():
        columns[:, :, :, :, i, j] = xp.moveaxis(padded[where], 3, 0)
    return columns.reshape(groups, N * OH * OW, kh * kw * (C // groups))


def col2im(columns: Array, windows: Windows, batch: int) -> Array:
    """The adjoint of `im2col`: every entry of columns is added to the position it was read from."""
    xp = array_module(columns)
    groups, (kh, kw), (OH, OW) = columns.shape[0], windows.kernel, windows.out
    c = columns.shape[2] // (kh * kw)
    columns = columns.reshape(groups, batch, OH, OW, kh, kw, c)
    shape = windows.padded_shape(batch, groups * c)
    padded = xp.zeros((*shape[:3], groups, c), columns.dtype)
    for i, j, where in windows.taps():
        padded[where] += xp.moveaxis(columns[:, :, :, :, i, j], 0, 3)
    return windows.crop(padded.reshape(shape))
