"""Convolution of few channels: all taps of a window in one piece, and their sums in registers.

A first layer has little to multiply for each number it moves: 25 taps of one channel.  Here a tap costs no move.  An
image is turned once, x̂[q,c,r] = x̃[r,q,c], so that a column lies in one piece, and for each row u of windows

    Z_u[q,c,i] = x̂[q,c,u s + i],   0 <= i < kh

is copied, kh numbers in one move.  A window is then a single stretch of Z_u: row m = (u, v) of X, (3) of `conv2d`,
begins at Z_u[v s], runs on over kw columns, and its K = kw c kh taps k = (j, c, i) overlap with the next window's.

Forward, (4), a tile has `ROWS` windows and `NARROW` channels of y; its sums start from the bias and are written once,
with their activation.  Backward, (5), a tile has `height` taps and sixteen channels: dW[k,o] stays in registers while
all windows of some rows go by, with one load of dY for `height` multiply-adds, whose other factor X[m,k] the processor
reads from memory as part of the instruction.  The sum (6) is one more row of the tile.  The sums of an image, float32,
are added up in float64.
"""

import numpy as np

from minicnn import threads
from minicnn.backend import Array, empty
from minicnn.ops import conv2d_direct
from minicnn.ops.conv2d_direct import FEW, Steps, rectifier, steps_type
from minicnn.ops.conv2d_rows import NARROW, ROWS
from minicnn.simd import (
    LANES,
    TILE_COLUMNS,
    address,
    array,
    broadcast,
    f32,
    i64,
    image_in,
    image_out,
    inner,
    load,
    shared,
    store,
    vector_in,
)
from minicnn.simd.compile import f64
from minicnn.simd.move import transpose
from minicnn.simd.window_tiles import make_outputs, make_sums

HEIGHTS = TALL, SHORT = (25, 9) if TILE_COLUMNS > LANES else (5, 3)  # taps of a tile: 5 x 5, 3 x 3, or less registers
BAND = 16 << 10  # bytes of dy that stay in the nearest cache while tiles go over them

_tall, _short = make_sums(TALL), make_sums(SHORT)
_outputs, _outputs_part = make_outputs(ROWS, NARROW // LANES), make_outputs(ROWS, 1, part=True)


def suits(channels: int, columns: int) -> bool:
    """Whether images of so many channels, and rows of y of so many pixels, are best convolved so, as measured."""
    return channels <= 4 and columns >= ROWS


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
    """As `conv2d_direct.forward`, for one group and no dilation."""
    (N, OH, OW, O), (kh, _, c, _) = y.shape, w.shape
    if OW < ROWS:
        conv2d_direct.forward(x, w, b, y, steps, scale, activation, slope)
        return
    K, width = w.size // O, -(-O // LANES) * LANES
    taps, shift = np.zeros((K, width), "float32"), np.zeros(width, "float32")
    taps[:, :O] = (w if scale is None else w * scale).transpose(1, 2, 0, 3).reshape(K, O)
    shift[:O] = 0 if b is None else b
    count = max(1, min(threads.count(), N * OH)) if y.size * K > FEW else 1
    turned = _turned(w.shape, y.shape, steps)
    scratch = empty((count, turned[0] * (turned[1] + kh) + 2 * LANES))
    _forward(_dense(x), taps, shift, y, kh, c, steps, *rectifier(activation, slope), scratch, *turned, count)


backward_data = conv2d_direct.backward_data  # dy has many channels


def backward_weight(x: Array, dy: Array, dw: Array, db: Array, steps: Steps) -> None:
    """dw by (5) and db (float64) by (6), for one group and no dilation."""
    (N, OH, OW, O), (kh, kw, c, _) = dy.shape, dw.shape
    K = kh * kw * c
    height = min(HEIGHTS, key=lambda h: -(-K // h) * (h + 1))
    pieces = -(-K // height)
    rows = max(1, min(OH, BAND // (4 * OW * O)))
    count = max(1, min(threads.count(), N * -(-OH // rows))) if dy.size * K > FEW else 1
    turned = _turned(dw.shape, dy.shape, steps)
    scratch = empty((count, turned[0] * (turned[1] + rows * kh) + pieces * height + 2 * LANES))
    sums, totals = (empty((count, pieces * (height + 1), O), dtype) for dtype in ("float32", "float64"))
    _backward_weight(_dense(x), dy, sums, totals, kh, c, steps, height, rows, scratch, *turned, count)
    total = totals.sum(0).reshape(pieces, height + 1, O)
    dw[...] = total[:, :-1].reshape(-1, O)[:K].reshape(kw, c, kh, O).transpose(2, 0, 1, 3)
    db[...] = total[0, -1]


def _turned(w_shape, y_shape, steps: Steps) -> tuple[int, int]:
    """How many columns (q, c) x̂ has, as far as windows reach, and how many rows r."""
    (kh, kw, c, _), (_, OH, OW, _) = w_shape, y_shape
    return ((OW - 1) * steps.right + kw) * c, (OH - 1) * steps.down + kh


def _dense(x: Array) -> Array:
    """x with every row in one piece, itself where it is so."""
    if x.strides[2] == x.shape[3] * x.itemsize:
        return x
    there = empty(x.shape)
    np.copyto(there, x)
    return there


_scratch = array(2, writable=True), i64, i64


@shared((image_in, array(2), vector_in, image_out, i64, i64, steps_type, f32, f32, *_scratch, i64))
def _forward(x, w, shift, y, kh, c, steps, slope, floor, scratches, columns, depth, T, t):
    """The rows of y of thread t of T."""
    (N, OH, OW, O), (K, width) = y.shape, w.shape
    scratch, W, b, Y = address(scratches[t]), address(w), address(shift), address(y)
    Z, window, pixel, row = columns * depth, steps.right * c * kh, y.strides[2] // 4, y.strides[1] // 4
    _clear(scratch, Z)
    first, last = t * N * OH // T, (t + 1) * N * OH // T
    for m in range(first, last):
        n, u = m // OH, m % OH
        if m == first or u == 0:
            _turn(x, n, c, steps, scratch, columns, depth)
        _line_up(scratch, u * steps.down, depth, Z, kh, columns)
        v = 0
        while v < OW:
            v = min(v, OW - ROWS)  # the last windows may be computed twice
            a, to, o = Z + v * window, n * y.strides[0] // 4 + u * row + v * pixel, 0
            while o + NARROW <= O:
                _outputs(scratch, a, window, W, o, width, Y, to + o, pixel, b, o, K, slope, floor, row)  # (4)
                o += NARROW
            while o < O:
                part = min(LANES, O - o)
                _outputs_part(scratch, a, window, W, o, width, Y, to + o, pixel, b, o, K, slope, floor, row, part)
                o += LANES
            v += ROWS


_sums = array(3, writable=True), array(3, f64, writable=True)


@shared((image_in, image_in, *_sums, i64, i64, steps_type, i64, i64, *_scratch, i64))
def _backward_weight(x, dy, sums, totals, kh, c, steps, height, rows, scratches, columns, depth, T, t):
    """What the bands of `rows` rows of dy of thread t of T add to dw and db."""
    N, OH, OW, O = dy.shape
    scratch, dY, dW = address(scratches[t]), address(dy), address(sums[t])
    Z, pitch, window = columns * depth, columns * kh, steps.right * c * kh
    pixel, row = dy.strides[2] // 4, dy.strides[1] // 4
    totals[t] = 0
    _clear(scratch, Z)
    bands = -(-OH // rows)
    first, last = t * N * bands // T, (t + 1) * N * bands // T
    for block in range(first, last):
        n, u = block // bands, block % bands * rows
        H, more = min(rows, OH - u), block > first and u > 0
        if not more:
            _turn(x, n, c, steps, scratch, columns, depth)
        for r in range(H):
            _line_up(scratch, (u + r) * steps.down, depth, Z + r * pitch, kh, columns)
        a = n * dy.strides[0] // 4 + u * row
        for o in range(0, O, LANES):
            part, ahead = min(LANES, O - o), H * OW * (O + o) - o  # the next band is fetched from its first line on
            for p in range(sums.shape[1] // (height + 1)):
                k, to = Z + p * height, p * (height + 1) * O + o
                if height == TALL:  # (5) (6)
                    _tall(scratch, k, window, dY, a + o, pixel, dW, to, O, OW, H, pitch, row, more, part, ahead)
                else:
                    _short(scratch, k, window, dY, a + o, pixel, dW, to, O, OW, H, pitch, row, more, part, ahead)
        if u + H == OH or block + 1 == last:
            for k in range(sums.shape[1]):
                for o in range(O):
                    totals[t, k, o] += sums[t, k, o]


@inner
def _clear(scratch, count):
    """Zeros, of which those outside the image stay."""
    for k in range(0, count, LANES):
        store(scratch, k, broadcast(f32(0)))


@inner
def _turn(x, n, c, steps, turned, columns, depth):
    """x̂ of image n, inside its zeros."""
    rows, row = min(x.shape[1], depth - steps.top), min(x.shape[2] * c, columns - steps.left * c)
    to = steps.left * c * depth + steps.top
    transpose(x, n * x.strides[0] // 4, x.strides[1] // 4, turned, to, depth, rows, row)


@inner
def _line_up(turned, row, depth, Z, kh, columns):
    """Z_u at Z, from x̂ in the same memory; what is written beyond a column is overwritten by the next."""
    for q in range(columns):
        for k in range(0, kh, LANES):
            store(turned, Z + q * kh + k, load(turned, row + q * depth + k))
