"""The CPU kernels of `conv2d`: which algorithm computes what, and how they are called.

    depthwise         a channel at a time, sixteen side by side; every group is one channel     conv2d_depthwise.py
    Winograd F(m, 3)  tiles of m x m outputs with n² products each, n = m + 2                   conv2d_winograd.py
    taps              (4), (5) for few channels, with all taps of a window in one piece         conv2d_taps.py
    rows              (4) straight on the rows of the image                                     conv2d_rows.py
    direct            (3)-(8) by matrix products of blocks of X that stay in the cache          conv2d_direct.py

Winograd saves multiply-adds: (3 m / n)² where tiles cover the image exactly, less where they hang over its edge.  It
costs transforms, of every pixel and channel, and of the weights, which many tiles must share.  `TABLE` says where it
pays, as measured on the shapes of the reports' networks; its first row that fits is taken.
"""

import functools
from types import ModuleType
from typing import NamedTuple

import numpy as np

from minicnn.backend import Array, empty
from minicnn.ops import checks, conv2d, conv2d_depthwise, conv2d_direct, conv2d_rows, conv2d_taps, conv2d_winograd
from minicnn.ops.conv2d import Cache
from minicnn.ops.conv2d_direct import Steps
from minicnn.ops.windows import Windows

FORWARD, BACKWARD_DATA, BACKWARD_WEIGHT = PASSES = ("forward", "backward_data", "backward_weight")


class Row(NamedTuple):
    """An algorithm, and the bounds between which it is taken."""

    name: str
    module: ModuleType
    kind: str = "any"  # of the convolution, see _kinds
    tile: int = 0  # Winograd's m
    least_saving: float = 0.0  # multiply-adds of the definition for one of Winograd's
    least_channels: int = 0  # the smaller of C and O
    least_tiles: int = 0  # over the whole batch
    most_weights: int = 0  # C O for each tile


WINOGRAD = Row("", conv2d_winograd, "3x3", least_channels=8, least_tiles=9, most_weights=2048)
TABLE = (
    Row("depthwise", conv2d_depthwise, "depthwise"),
    WINOGRAD._replace(name="Winograd F(4x4)", tile=4, least_saving=2.6),
    WINOGRAD._replace(name="Winograd F(3x3)", tile=3, least_saving=1.3),
    Row("taps", conv2d_taps, "taps"),
    Row("rows", conv2d_rows, "rows"),
    Row("direct", conv2d_direct),
)


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
    """See `conv2d.forward`."""
    windows = conv2d._check(x, w, b, stride, padding, dilation, groups)
    if declined(x, w, b):
        return NotImplemented
    x, w = image(x), np.ascontiguousarray(w)
    y = empty((x.shape[0], *windows.out, w.shape[3]))
    compute(x, w, b, y, windows, groups)
    return y, Cache(x, w, b is not None, windows, groups)


def backward(dy: Array, cache: Cache, *, input_gradient: bool = True) -> tuple[Array | None, Array, Array | None]:
    """See `conv2d.backward`."""
    x, w, has_bias, windows, groups = cache
    checks.upstream("conv2d", dy, (x.shape[0], *windows.out, w.shape[3]))
    if declined(x, w, dy):
        return NotImplemented
    x, w, dy = image(x), np.ascontiguousarray(w), image(dy)
    steps = Steps(*windows.stride, *windows.padding, *windows.dilation, groups)
    dx, dw, db = empty(x.shape) if input_gradient else None, empty(w.shape), np.empty(w.shape[3])
    row = _choose(BACKWARD_WEIGHT, x.shape, w.shape, windows, groups)
    if row.tile:
        row.module.backward_weight(x, dy, dw, windows.padding, row.tile, db)
    else:
        row.module.backward_weight(x, dy, dw, db, steps)
    if dx is not None:
        row = _choose(BACKWARD_DATA, x.shape, w.shape, windows, groups)
        where = (windows.padding, row.tile) if row.tile else (steps,)
        row.module.backward_data(dy, w, dx, *where)
    return dx, dw, db.astype("float32") if has_bias else None


def compute(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    windows: Windows,
    groups: int,
    scale: Array | None = None,
    activation: str = "none",
    slope: float = 0.0,
) -> None:
    """y = φ(scale (x * w) + b) by (1), as TABLE chooses; φ is "none", "relu" or "leaky_relu"."""  # (1)
    row = _choose(FORWARD, x.shape, w.shape, windows, groups)
    b, scale = (None if v is None else np.ascontiguousarray(v) for v in (b, scale))
    steps = Steps(*windows.stride, *windows.padding, *windows.dilation, groups)
    where = (windows.padding, row.tile) if row.tile else (steps,)
    row.module.forward(x, w, b, y, *where, scale, activation, slope)


def explain(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: checks.Size = 1,
    padding: checks.Size = 0,
    dilation: checks.Size = 1,
    groups: int = 1,
) -> dict[str, str]:
    """pass -> the algorithm that computes it, for float32 arrays of these shapes."""
    x, w = (np.broadcast_to(np.float32(0), shape) for shape in (x_shape, w_shape))
    windows = conv2d._check(x, w, None, stride, padding, dilation, groups)
    return {p: _choose(p, x_shape, w_shape, windows, groups).name for p in PASSES}


@functools.lru_cache(1024)
def _choose(pass_: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], windows: Windows, groups: int) -> Row:
    """The first row of TABLE that fits."""
    kinds = _kinds(pass_, x_shape, w_shape, windows, groups)
    (N, _, _, C), O = x_shape, w_shape[3]
    H, W = min(windows.image, windows.out) if pass_ == BACKWARD_DATA else windows.out  # what is cut into tiles
    for row in TABLE:
        if row.kind not in kinds or min(C, O) < row.least_channels:
            continue
        if row.tile:
            tiles = -(-H // row.tile) * -(-W // row.tile)
            saving = 9 * H * W / (tiles * (row.tile + 2) ** 2)
            enough = N * tiles >= max(row.least_tiles, C * O / row.most_weights)
            if saving < row.least_saving or not enough:
                continue
        return row
    raise AssertionError("the last row of TABLE fits everything")


def _kinds(pass_: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], windows: Windows, groups: int) -> set[str]:
    """What the convolution is: "any"; "depthwise"; "3x3" with steps of 1, one group, and margins that Winograd's tiles
    allow; "taps", "rows" where `conv2d_taps`, `conv2d_rows` can and should do this pass."""
    kinds = {"any"}
    if groups > 1 and x_shape[3] == w_shape[3] == groups:
        kinds.add("depthwise")
    if windows.stride == windows.dilation == (1, 1) and groups == 1 and windows.kernel == (3, 3):
        kinds |= {"3x3"} if max(windows.padding) <= 2 else set()
    if pass_ != BACKWARD_DATA and windows.dilation == (1, 1) and groups == 1:
        kinds |= {"taps"} if conv2d_taps.suits(x_shape[3], windows.out[1]) else set()
    backward = pass_ == BACKWARD_DATA and windows.stride == (1, 1)
    written = windows.image if backward else windows.out
    if (pass_ == FORWARD or backward) and windows.dilation[1] == 1 and conv2d_rows.suits(written[1]):
        kinds.add("rows")
    return kinds


def declined(*arrays: Array | None) -> bool:
    """Whether the kernels leave these to the definition: they take float32 arrays (None passes)."""
    return any(a is not None and a.dtype != np.float32 for a in arrays)


def image(x: Array) -> Array:
    """x as the kernels read it: any strides, but a contiguous last axis."""
    there = x.flags.aligned and (x.shape[3] == 1 or x.strides[3] == x.itemsize)
    return x if there else np.array(x, order="C")
