"""Convolution straight on rows of the image: (4) of `conv2d` without X.

In an image with channels last, the taps (j, c) of row i of a window lie in one piece, and the next window begins s c
further: in the matrix product the rows of X overlap in memory.  So a row of y is, by (1), a sum of products over i,

    Y[v,o] = Σ_i Σ_k x̃[u s + i d, v s c + k] w[i,k,o],   k = (j, c)

which a tile of `simd.tile` adds up by itself.  A thread takes a few rows of y, or a piece of one, and copies the rows
of x under them with the zeros around: one move for each entry of x, where `conv2d_direct` has one for each tap.
"""

import functools

import numpy as np

from minicnn import threads
from minicnn.backend import Array, empty
from minicnn.ops import conv2d_direct
from minicnn.ops.conv2d_direct import FEW, PIXELS, Steps, finish, rectifier, steps_type
from minicnn.simd import (
    LANES,
    TILE_COLUMNS,
    TILE_ROWS,
    array,
    broadcast,
    f32,
    i64,
    image_in,
    image_out,
    inner,
    load_part,
    multiply_nn,
    shared,
    store,
    vector_in,
)
from minicnn.simd.tile import make_tile

NARROW = max(TILE_COLUMNS // 2, LANES)  # columns; so few are better multiplied with more rows at a time
ROWS = TILE_ROWS * TILE_COLUMNS // NARROW
WIDE = 32  # pixels of a row of y; from here on those that do not fill a tile do not matter


_narrow = make_tile(ROWS, NARROW // LANES)


def suits(columns: int) -> bool:
    """Whether a row of y of so many pixels fills tiles."""
    return columns % TILE_ROWS == 0 or columns >= WIDE


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    steps: Steps,
    scale: Array | None = None,
    activation: str = "none",
    slope: float = 0.0,
) -> None:
    """As `conv2d_direct.forward`, for steps.tap_right 1."""
    O = w.shape[3]
    blocks, scratch = _blocks(y.shape, w.shape, steps, threads.count())
    scale = np.ones(O, "float32") if scale is None else scale
    b = np.zeros(O, "float32") if b is None else b
    _forward(x, w, scale, b, y, steps, *rectifier(activation, slope), empty(scratch), *blocks, scratch[0])


def backward_data(dy: Array, w: Array, dx: Array, steps: Steps) -> None:
    """As `conv2d_direct.backward_data`, for stride 1 and steps.tap_right 1."""
    conv2d_direct.backward_data(dy, w, dx, steps, forward)


backward_weight = conv2d_direct.backward_weight  # (5) needs whole rows of X


@functools.lru_cache(512)
def _blocks(y_shape, w_shape, steps: Steps, count: int) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """((rows of y, pixels of a row in a block, floats from one row of x to the next), shape of the scratch memory)."""
    (N, OH, OW, O), (kh, kw, c, _) = y_shape, w_shape
    count = count if N * OH * OW * O * kh * kw * c > FEW else 1
    stripes = -(-OW // PIXELS)
    columns = -(-OW // max(1, stripes))
    bands = -(-OH // max(1, PIXELS // max(1, columns)))
    while bands < OH and N * bands * stripes % count:
        bands += 1  # as many blocks for each thread
    rows = -(-OH // max(1, bands))
    pitch = -(-((columns - 1) * steps.right + kw) * c // LANES) * LANES + LANES
    height = (rows - 1) * steps.down + (kh - 1) * steps.tap_down + 1
    size = height * pitch + columns * TILE_COLUMNS
    return (rows, columns, pitch), (max(1, min(count, N * bands * stripes)), size)


scratch_types = array(2, writable=True), i64, i64, i64


@shared((image_in, array(4), vector_in, vector_in, image_out, steps_type, f32, f32, *scratch_types, i64))
def _forward(x, w, scale, b, y, steps, slope, floor, scratches, rows, columns, pitch, T, t):
    """The blocks of thread t of T."""
    scratch = scratches[t]
    (N, OH, OW, O), (kh, kw, c, _) = y.shape, w.shape
    bands, stripes, out = -(-OH // rows), -(-OW // columns), O // steps.groups
    C = len(scratch) - columns * TILE_COLUMNS
    for block in range(t * N * bands * stripes // T, (t + 1) * N * bands * stripes // T):
        n, u, v = block // (bands * stripes), block // stripes % bands * rows, block % stripes * columns
        M, last = min(columns, OW - v), min(u + rows, OH)
        for g in range(steps.groups):
            _fill(x, scratch, pitch, n, u, v, last - u, M, kh, kw, c, steps, g)
            for o in range(g * out, (g + 1) * out, TILE_COLUMNS):
                width = min(TILE_COLUMNS, (g + 1) * out - o)
                for row in range(u, last):
                    a, step = (row - u) * steps.down * pitch, steps.tap_down * pitch
                    _multiply(scratch, a, steps.right * c, w, o, O, C, M, width, kw * c, kh, step)  # (4)
                    finish(scratch, C, y, (n * OH + row) * OW + v, M, o, width, scale, b, slope, floor)


@inner
def _multiply(scratch, a, lda, w, o, O, C, M, width, K, H, step):
    """A row of M pixels of `width` columns, with the tile that has most sums to work at."""
    m = 0
    while width == NARROW and m + ROWS <= M:
        to = C + m * TILE_COLUMNS
        _narrow(scratch, a + m * lda, lda, w, o, O, scratch, to, TILE_COLUMNS, K, H, step, K * O, 0)
        m += ROWS
    if m < M:
        to = C + m * TILE_COLUMNS
        multiply_nn(
            scratch, a + m * lda, lda, w, o, O, scratch, to, TILE_COLUMNS, M - m, width, K, H, step, K * O, 0
        )  # fmt: skip


@inner
def _fill(x, X, pitch, n, u, v, rows, columns, kh, kw, c, steps, g):
    """The rows of image n under `rows` rows of windows and `columns` in each, the first of them (u, v)."""
    first, left = u * steps.down - steps.top, v * steps.right - steps.left
    width, pixel = (columns - 1) * steps.right + kw, x.strides[2] // 4
    for r in range((rows - 1) * steps.down + (kh - 1) * steps.tap_down + 1):
        inside = 0 <= first + r < x.shape[1]
        begin = min(width, max(0, -left))
        end = max(begin, min(width, x.shape[2] - left)) if inside else begin
        a = (n * x.strides[0] + (first + r) * x.strides[1]) // 4 + (left + begin) * pixel + g * c
        to = r * pitch
        if end - begin < width:
            for k in range(0, width * c, LANES):
                store(X, to + k, broadcast(f32(0)))
        together = end - begin if pixel == c else 1  # pixels of x in one piece
        for q in range(begin, end, max(1, together)):
            _copy(x, a + (q - begin) * pixel, X, to + q * c, together * c)


@inner
def _copy(x, a, X, to, count):
    """X[to:] = x[a:] of this length, and zeros behind it up to a whole vector."""
    for k in range(0, count, LANES):
        store(X, to + k, load_part(x, a + k, min(LANES, count - k)))
