"""Convolution as a matrix product whose X is never stored: blocks of it, small enough for a core's cache, come and go.

The pixels m = (n, u, v) of y are numbered through.  A thread takes a block of them, writes their rows of X, (3) of
`conv2d`, into its scratch memory, and multiplies them with W (4), or their transpose with dY (5).  Filling X costs as
many moves as a pixel has taps, multiplying as many multiply-adds times the output channels: a few percent.  In return
padding, stride, dilation and groups are a matter of filling alone, y may lie in memory with any strides, and images of
a few pixels fill a block together.

The gradient of x needs no kernel of its own.  By (8), r + p = u s + i d: for the rows r of one remainder modulo s only
every s'-th tap i counts, s' = s / gcd(s, d), and from one to the next u falls by d / gcd(s, d).  So the rows a, a + s,
... of dx are a convolution of dy, of stride 1, with those taps in reversed order (`_phases`).
"""

from collections.abc import Callable
from math import gcd
from typing import NamedTuple

import numpy as np
from numba import types

from minicnn import threads
from minicnn.backend import Array, empty
from minicnn.simd import (
    LANES,
    TILE_COLUMNS,
    TILE_ROWS,
    array,
    broadcast,
    f32,
    fma,
    greater,
    i64,
    image_in,
    image_out,
    inner,
    kernel,
    load,
    load_part,
    maximum,
    multiply_nn,
    multiply_tn,
    select,
    shared,
    store,
    store_part,
    vector_in,
)
from minicnn.simd.move import transpose

PIXELS = 96  # of a block, at most: their y of TILE_COLUMNS channels fits into the nearest cache
ENTRIES = 1 << 17  # of a block's X, at most: half a MiB
FEW = 1 << 20  # multiply-adds; below, starting the other threads costs more than they save


class Steps(NamedTuple):
    """Tap (i, j) of window (u, v) reads x[u down + i tap_down - top, v right + j tap_right - left]."""

    down: int = 1
    right: int = 1
    top: int = 0
    left: int = 0
    tap_down: int = 1
    tap_right: int = 1
    groups: int = 1


class _Blocks:
    """How the pixels of y, and with them X of K columns, are cut into blocks; the scratch memory of each thread."""

    def __init__(self, y: Array, K: int):
        pixels = y.shape[0] * y.shape[1] * y.shape[2]
        several = y.size * K > FEW
        self.threads = max(1, min(threads.count(), -(-pixels // TILE_ROWS))) if several else 1
        most = max(1, min(PIXELS, ENTRIES // (K + LANES)) // TILE_ROWS) * TILE_ROWS
        count = max(1, -(-pixels // most))
        count += -count % self.threads  # as many for each thread
        self.size = -(-pixels // (count * TILE_ROWS)) * TILE_ROWS
        self.row = (K // LANES + 2 | 1) * LANES  # an odd number of cache lines: columns do not collide
        self.scratch = empty((self.threads, self.size * (self.row + TILE_COLUMNS) + LANES))


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
    """y = φ(scale (x * w) + b); x is 0 outside.

    x and y may have any strides but a last axis that is contiguous; w is contiguous; b and scale may be None.
    """
    K, O = w.shape[0] * w.shape[1] * w.shape[2], w.shape[3]
    blocks = _Blocks(y, K)
    scale = np.ones(O, "float32") if scale is None else scale
    b = np.zeros(O, "float32") if b is None else b
    room = blocks.scratch, blocks.size, blocks.row, blocks.threads
    _forward(x, w, scale, b, y, steps, *rectifier(activation, slope), *room)


def backward_data(dy: Array, w: Array, dx: Array, steps: Steps, convolve: Callable[..., None] = forward) -> None:
    """dx by (7) and (8), by convolutions of dy; all of it is written."""
    kh, kw, c, O = w.shape
    rows = _phases(steps.down, steps.top, steps.tap_down, kh)
    columns = _phases(steps.right, steps.left, steps.tap_right, kw)
    for a, (i, top, tap_down) in enumerate(rows):
        for e, (j, left, tap_right) in enumerate(columns):
            part, taps = dx[:, a :: steps.down, e :: steps.right], w[i, j]
            if not taps.size:
                part.fill(0)
            elif part.size:
                turned = empty((*taps.shape[:2], O // steps.groups, c * steps.groups))
                _turn(taps, turned, steps.groups)
                convolve(dy, turned, None, part, Steps(1, 1, top, left, tap_down, tap_right, steps.groups))


def backward_weight(x: Array, dy: Array, dw: Array, db: Array, steps: Steps) -> None:
    """dw by (5) and db (float64) by (6)."""
    blocks = _Blocks(dy, dw.size // dw.shape[3])
    dws, dbs = empty((blocks.threads, *dw.shape)), np.zeros((blocks.threads, dw.shape[3]))
    _backward_weight(x, dy, dws, dbs, steps, blocks.scratch, blocks.size, blocks.row, blocks.threads)
    np.add.reduce(dws, 0, out=dw)
    np.add.reduce(dbs, 0, out=db)


def _phases(s: int, p: int, d: int, k: int) -> list[tuple[slice, int, int]]:
    """For each a < s: the (taps, start, dilation) by which dx[a], dx[a + s], ... follow from dy, along one axis."""
    g = gcd(s, d)
    found = []
    for a in range(s):
        first = next((i for i in range(min(k, s)) if (i * d - a - p) % s == 0), k)
        last = first + max(0, k - 1 - first) // (s // g) * (s // g)
        found.append((slice(first, k, s // g), (last * d - a - p) // s, d // g))  # (8)
    return found


def rectifier(activation: str, slope: float) -> tuple[float, float]:
    """(slope, floor) for `rectify`."""
    infinity = float("inf")
    return {"none": (1.0, -infinity), "relu": (0.0, -1.0), "leaky_relu": (slope, -infinity)}[activation]


steps_type = types.NamedUniTuple(i64, 7, Steps)
partial_sums = array(5, writable=True), array(2, types.float64, writable=True)
scratch_types = array(2, writable=True), i64, i64


@shared((image_in, array(4), vector_in, vector_in, image_out, steps_type, f32, f32, *scratch_types, i64))
def _forward(x, w, scale, b, y, steps, slope, floor, scratches, size, lda, T, t):
    """The blocks of thread t of T."""
    scratch = scratches[t]
    pixels, O = y.shape[0] * y.shape[1] * y.shape[2], w.shape[3]
    K, out, C = w.shape[0] * w.shape[1] * w.shape[2], O // steps.groups, size * lda
    blocks = -(-pixels // size)
    for block in range(t * blocks // T, (t + 1) * blocks // T):
        m = block * size
        M = min(size, pixels - m)
        for g in range(steps.groups):
            _fill(x, scratch, lda, m, M, y.shape, w.shape, steps, g)  # (3)
            for o in range(g * out, (g + 1) * out, TILE_COLUMNS):
                n = min(TILE_COLUMNS, (g + 1) * out - o)
                multiply_nn(scratch, 0, lda, w, o, O, scratch, C, TILE_COLUMNS, M, n, K, 1, 0, 0, 0)  # (4)
                finish(scratch, C, y, m, M, o, n, scale, b, slope, floor)


@shared((image_in, image_in, *partial_sums, steps_type, *scratch_types, i64))
def _backward_weight(x, dy, dws, dbs, steps, scratches, size, lda, T, t):
    """What the blocks of thread t of T add to dw and db."""
    dw, db, scratch = dws[t], dbs[t], scratches[t]
    pixels, O = dy.shape[0] * dy.shape[1] * dy.shape[2], dw.shape[3]
    K, out, B = dw.shape[0] * dw.shape[1] * dw.shape[2], O // steps.groups, size * lda
    blocks = -(-pixels // size)
    first, last = t * blocks // T, (t + 1) * blocks // T
    if first == last:
        dw[:] = 0
    for block in range(first, last):
        m = block * size
        M = min(size, pixels - m)
        for g in range(steps.groups):
            _fill(x, scratch, lda, m, M, dy.shape, dw.shape, steps, g)  # (3)
            for o in range(g * out, (g + 1) * out, TILE_COLUMNS):
                n = min(TILE_COLUMNS, (g + 1) * out - o)
                gather(dy, m, M, o, n, scratch, B, db)  # (6)
                multiply_tn(scratch, 0, lda, scratch, B, TILE_COLUMNS, dw, o, O, K, n, M, 1, 0, 0, block > first)  # (5)


@inner
def _fill(x, X, lda, m, M, y_shape, w_shape, steps, g):
    """M rows of X from pixel m on, for group g of the channels."""
    OH, OW, taps, c = y_shape[1], y_shape[2], w_shape[1], w_shape[2]
    at = 0
    while at < M:
        v, u, n = (m + at) % OW, (m + at) // OW % OH, (m + at) // (OW * OH)
        length = min(OW - v, M - at)
        for i in range(w_shape[0]):
            r = u * steps.down + i * steps.tap_down - steps.top
            a = (n * x.strides[0] + r * x.strides[1]) // 4 + g * c
            W = x.shape[2] if 0 <= r < x.shape[1] else 0  # a row of zeros is one without pixels
            _fill_row(x, a, W, X, at * lda + i * taps * c, lda, v, length, taps, c, steps)
        at += length


@inner
def _fill_row(x, a, W, X, to, lda, v, length, taps, c, steps):
    """The taps of one row of windows v, v + 1, ... in the row of W pixels at a."""
    pixel = x.strides[2] // 4
    together = taps if steps.tap_right == 1 and pixel == c else 1  # taps that lie in one piece in x
    for j in range(0, taps, together):
        q = v * steps.right + j * steps.tap_right - steps.left  # what the first window reads
        k = 0
        while k < length:
            first, last = min(together, max(0, -q)), min(together, W - q)
            count = 1
            if first == 0 and last == together:
                count = min(length - k, (W - q - together) // steps.right + 1)  # windows that lie inside x
            source, target = a + (q + first) * pixel, to + k * lda + j * c
            _copy(x, source, steps.right * pixel, X, target, lda, count, together * c, first * c, last * c)
            k, q = k + count, q + count * steps.right


@inner
def _copy(x, a, step, X, to, lda, count, end, first, last):
    """`count` times X[to:][:end] = zeros, but from first to last x[a:]; a is `step` further each time, `to` lda.

    Some entries behind are written too.  They are in the way of nothing, or written later.
    """
    for k in range(0, first, LANES):
        store(X, to + k, broadcast(f32(0)))
    for k in range(first, end, LANES):
        n = min(LANES, max(0, last - k))
        for m in range(count):
            store(X, to + m * lda + k, load_part(x, a + m * step + k - first, n))


@inner
def finish(Y, a, y, m, M, o, n, scale, b, slope, floor):
    """M pixels of y from m on, n channels from o on: φ(scale Y + b)."""
    OH, OW, pixel = y.shape[1], y.shape[2], y.strides[2] // 4
    at = 0
    while at < M:
        v, u, image = (m + at) % OW, (m + at) // OW % OH, (m + at) // (OW * OH)
        length = min(OW - v, M - at)
        to = (image * y.strides[0] + u * y.strides[1]) // 4 + v * pixel + o
        for k in range(0, n, LANES):
            part = min(LANES, n - k)
            factor, shift = load_part(scale, o + k, part), load_part(b, o + k, part)
            for p in range(length):
                z = rectify(fma(load(Y, a + (at + p) * TILE_COLUMNS + k), factor, shift), slope, floor)
                if part == LANES:
                    store(y, to + p * pixel + k, z)
                else:
                    store_part(y, to + p * pixel + k, z, part)
        at += length


@inner
def rectify(z, slope, floor):
    """z where z > 0, else slope max(z, floor): relu without 0 ∞, for a floor that is finite where slope is 0."""
    return select(greater(z, broadcast(f32(0))), z, broadcast(slope) * maximum(broadcast(floor), z))


@inner
def gather(dy, m, M, o, n, B, b, db):
    """M rows of dY from pixel m on, columns o, ..., o + n - 1, in one piece at B[b]; their sums are added to db."""
    OH, OW, sums = dy.shape[1], dy.shape[2], len(B) - LANES
    for k in range(0, n, LANES):
        part = min(LANES, n - k)
        total = broadcast(f32(0))
        at = 0
        while at < M:
            v, u, image = (m + at) % OW, (m + at) // OW % OH, (m + at) // (OW * OH)
            length = min(OW - v, M - at)
            a = (image * dy.strides[0] + u * dy.strides[1] + v * dy.strides[2]) // 4 + o + k
            for p in range(length):
                if part == LANES:
                    d = load(dy, a + p * (dy.strides[2] // 4))
                else:
                    d = load_part(dy, a + p * (dy.strides[2] // 4), part)
                store(B, b + (at + p) * TILE_COLUMNS + k, d)
                total = total + d
            at += length
        store(B, sums, total)
        for lane in range(part):
            db[o + k + lane] += B[sums + lane]


@kernel((image_in, array(4, writable=True), i64))
def _turn(w, turned, groups):
    """turned[i, j] = w[-1 - i, -1 - j] transposed, group by group: (kh, kw, C/G, O) -> (kh, kw, O/G, C)."""
    kh, kw, c, O = w.shape
    out = O // groups
    for i in range(kh):
        for j in range(kw):
            a, b = ((kh - 1 - i) * w.strides[0] + (kw - 1 - j) * w.strides[1]) // 4, (i * kw + j) * out * c * groups
            for g in range(groups):
                transpose(w, a + g * out, O, turned, b + g * c, c * groups, c, out)
