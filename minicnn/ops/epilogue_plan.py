"""What the kernels of `epilogue` are told: sizes and choices as a tuple of whole numbers, tables as small arrays.

Kernels work on images (N, H, W, C); `images` shows anything else as such.  A matrix (N, C) is N images of one pixel.
A `Plan` follows from the Spec and from shapes alone, so it is made once for each of them.
"""

import functools
from math import prod
from typing import NamedTuple

import numpy as np
from numba import types

from minicnn.ops.dropout import MASK32
from minicnn.ops.max_pool2d import pool_windows
from minicnn.ops.parts import Spec
from minicnn.ops.windows import Windows, slide

NONE, RELU, SLOPE = (0, 1, 2)  # Plan.activation; a slope for negative x is leaky_relu's or prelu's
BEFORE, AFTER = 1, 2  # Plan.norm
MAX, AVG = 1, 2  # Plan.pool
MOST_TAPS = 256  # of a window whose maximum is wanted: argmax is a byte
MOST_COLUMNS = 6  # of windows `by_two`
ELEMENTS, CHANNELS = 1, 2  # Plan.dropout

MANY_ROWS = 16
BLOCK_PIXELS, BLOCK_BYTES, LEAST_BLOCKS = 256, 1 << 17, 8
# Pixels of a row in which channels are the outer loop, so that what belongs to channels is loaded once for them.  With
# more channels the steps from pixel to pixel are too long for a processor to foresee what it will read.
TILE_CHANNELS, TILE_BYTES = 64, 1 << 11
NO_ALPHA, NO_ARGMAX = np.zeros(1, "float32"), np.zeros((1, 1, 1, 1), "uint8")


class Plan(NamedTuple):
    """Sizes and choices of an epilogue.  Positions count from the first pixel of x: in a margin they are negative."""

    H: int
    W: int
    C: int
    OH: int  # y of (2) is (N, OH, OW, C)
    OW: int
    top: int  # rows of zeros
    bottom: int
    left: int
    right: int
    kh: int
    kw: int
    sh: int
    sw: int
    lead_h: int  # margin and pooling's padding above x together: window u begins at row u sh - lead_h
    lead_w: int
    activation: int
    norm: int
    pool: int
    dropout: int
    per_element: int  # alpha is (H, W, C), else (C,)
    learned: int  # alpha has a gradient
    batch_statistics: int
    apart: int  # no two windows meet; without pooling each pixel is a window
    tiled: int  # apart, and every pixel is in one
    by_two: int  # windows meet, two columns apart, and are so narrow that what their columns get stays in registers
    reach: int  # columns from the first of the first window, that windows or x have
    block: int  # rows of x in one partial sum
    tile: int  # pixels in which channels are the outer loop


class Mask(NamedTuple):
    """What dropout's hash needs: a and b of its derivation, and p 2³²."""

    a: int
    b: int
    threshold: int


PLAN = types.NamedUniTuple(types.int64, len(Plan._fields), Plan)
MASK = types.NamedUniTuple(types.int64, len(Mask._fields), Mask)


@functools.lru_cache(512)
def plan(
    spec: Spec, shape: tuple[int, int, int, int], per_element: bool, batch_statistics: bool
) -> tuple[Plan, Windows | None, np.ndarray]:
    """The plan for x of this shape, the windows of its pooling, and `shares`: 1/rows[u], then 1/columns[v] of a mean.

    ValueError where a window does not fit.
    """
    N, H, W, C = shape
    top, bottom, left, right = map(int, spec.margins)
    padded = N, top + H + bottom, left + W + right, C
    windows, out, shares = None, padded[1:3], np.ones(1, "float32")
    lead_h, lead_w, kernel, stride = top, left, (1, 1), (1, 1)
    if spec.pool != "none":
        like = np.broadcast_to(np.float32(0), padded)
        windows = pool_windows(
            f"{spec.pool}_pool2d", like, spec.kernel, spec.stride, spec.padding, ceil_mode=spec.ceil_mode
        )
        kernel, stride, out = windows.kernel, windows.stride, windows.out
        lead_h, lead_w = top + windows.padding[0], left + windows.padding[1]
        shares = _shares(windows, spec.count_include_pad)
    shares.flags.writeable = False
    found = Plan(
        H, W, C, *out, top, bottom, left, right, *kernel, *stride, lead_h, lead_w,
        activation={"none": NONE, "relu": RELU}.get(spec.activation, SLOPE),
        norm=("none", "before", "after").index(spec.norm),
        pool=("none", "max", "avg").index(spec.pool),
        dropout=(1 + bool(spec.channelwise)) * bool(spec.p),
        per_element=int(per_element),
        learned=int(spec.activation == "prelu"),
        batch_statistics=int(batch_statistics),
        apart=int(kernel[0] <= stride[0] and kernel[1] <= stride[1]),
        tiled=int(kernel == stride and lead_h == lead_w == 0 and out[0] * stride[0] >= H and out[1] * stride[1] >= W),
        by_two=int(stride[1] == 2 < kernel[1] <= MOST_COLUMNS),
        reach=max(out[1] * stride[1] + kernel[1], lead_w + W),
        block=_block(N * H, W, C),
        tile=TILE_BYTES // (4 * C) if 0 < C <= TILE_CHANNELS else 1,
    )  # fmt: skip
    return found, windows, shares


def _shares(windows: Windows, count_include_pad: bool) -> np.ndarray:
    """1/rows[u] for every u, then 1/columns[v] for every v."""
    counts = []
    for W, k, s, p, O in zip(windows.image, windows.kernel, windows.stride, windows.padding, windows.out, strict=True):
        lo, hi = (0, W + 2 * p) if count_include_pad else (p, p + W)
        start = np.arange(O) * s
        counts.append(np.minimum(start + k, hi) - np.maximum(start, lo))
    return (1 / np.concatenate(counts)).astype("float32")


def _block(rows: int, W: int, C: int) -> int:
    """Rows in one partial sum: few enough for accuracy and for the second cache, and not all in one block."""
    most = min(BLOCK_PIXELS // max(W, 1), BLOCK_BYTES // max(4 * W * C, 1), -(-rows // LEAST_BLOCKS))
    return max(1, most)


@functools.lru_cache(64)
def slopes(C: int, slope: float) -> np.ndarray:
    """leaky_relu's slope for every channel."""
    found = np.full(C, slope, "float32")
    found.flags.writeable = False
    return found


@functools.lru_cache(64)
def mask(key: int, p: float) -> tuple[Mask, np.float32]:
    """The Mask of a key, and 1/(1 - p), by which what is kept is multiplied."""
    a = _finalise(key & MASK32)
    b = _finalise((key >> 32 & MASK32) ^ a)
    return Mask(a, b, int(p * 2**32)), np.float32(0 if p == 1 else 1) / np.float32(1 if p == 1 else 1 - p)


def _finalise(c: int) -> int:
    """The 32-bit finaliser of dropout's hash."""
    c = (c ^ c >> 16) * 0x85EBCA6B & MASK32
    c = (c ^ c >> 13) * 0xC2B2AE35 & MASK32
    return c ^ c >> 16


def pooling(pool: str, windows: Windows, count_include_pad: bool = True) -> Spec:
    """The Spec of pooling with these windows."""
    sizes = windows.image, windows.kernel, windows.stride, windows.padding
    ceil_mode = windows.out != slide("", *sizes).out
    return Spec(
        pool=pool,
        kernel=windows.kernel,
        stride=windows.stride,
        padding=windows.padding,
        ceil_mode=ceil_mode,
        count_include_pad=bool(count_include_pad),
    )


def declined(*arrays: object) -> bool:
    """Whether the kernels must leave these to the definition: they take float32 arrays of NumPy (None passes)."""
    return any(a is not None and not (type(a) is np.ndarray and a.dtype == np.float32 and a.ndim) for a in arrays)


def images(x: np.ndarray) -> np.ndarray:
    """x (N, ..., C) as images that a kernel can read: four axes, the last contiguous."""
    if x.ndim == 2:
        x = x[:, None, None, :]
    elif x.ndim != 4:
        shape = (1, *x.shape) if x.ndim == 1 else x.shape
        x = np.ascontiguousarray(x).reshape(shape[0], prod(shape[1:-1]), 1, shape[-1])
    if (x.shape[3] > 1 and x.strides[3] != x.itemsize) or not x.flags.aligned:
        x = np.ascontiguousarray(x)
    return x


def rows(x: np.ndarray) -> np.ndarray:
    """x as images of few long rows, for what is done to each element alone."""
    if not x.flags.c_contiguous:
        return images(x)
    count, axis = 1, 0
    while count < MANY_ROWS and axis < x.ndim - 1:
        count, axis = count * x.shape[axis], axis + 1
    return x.reshape(count, 1, 1, prod(x.shape[axis:]))
