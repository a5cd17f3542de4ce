"""3 x 3 convolution with stride 1 by Winograd's algorithm, (5) of `winograd_matrices`, on the CPU.

The output is cut into tiles of m x m, m = 4 or 3, numbered t over images, rows and columns.  A tile needs the n x n
inputs under it, n = m + 2, where neighbours overlap by two, and zeros outside the image.  With d_tc that patch of
channel c, entry k = 0..n²-1 of the small grids, and the matrices A, B, G:

    U_k[c,o] = (G w_co Gᵀ)_k                    once for the weights                     (1)
    V_k[t,c] = (Bᵀ d_tc B)_k                                                             (2)
    M_k      = V_k U_k                          n² matrix products                       (3)
    y_to     = Aᵀ M_to A                        and what follows: shift, rectifier       (4)

The gradient of w goes through (4), (3), (1) backwards, each of them linear:

    D_k[t,o] = (A dy_to Aᵀ)_k                                                            (5)
    dU_k     = V_kᵀ D_k                                                                  (6)
    dw_co    = Gᵀ dU_co G                                                                (7)

and so may that of x, by (5) and

    dV_k = D_k U_kᵀ                                                                      (8)
    dx   = the patches B dV_tc Bᵀ, added up where they overlap                           (9)

But dx is also the convolution (1)-(4) of dy, with w turned half round, its C and O exchanged, and margins 2 - p for
margins p.  Without overlaps that is simpler; where margins are small and so dx is larger than dy, it has more tiles.

A thread goes through its tiles in groups, so few that V and M of a group stay in its cache.  Columns of U, M, D and dU
lie together in panels, as the products read them.  A NaN or infinity in x or dy spreads over the tiles that read it.

dU is large where there are many channels, and is read and written once a group.  So (6) goes by blocks of dU, of which
each takes all tiles, and needs the V and D of its own rows and columns alone.  Threads share blocks, or where that is
dearer, tiles: then each has a dU of its own, and these are added up.
"""

import math

import numpy as np

from minicnn import backend, simd, threads
from minicnn.ops import conv2d_winograd_transforms as transforms
from minicnn.ops.conv2d_winograd_tiles import INPUT, OUTPUT, read_tiles, write_tiles
from minicnn.ops.winograd_matrices import POINTS
from minicnn.simd import LANES, TILE_COLUMNS, TILE_ROWS, array, f32, i64, image_in, image_out, inner, shared, vector_in
from minicnn.simd.compile import f64
from minicnn.simd.move import transpose
from minicnn.simd.tile import make_tile

PANEL = TILE_COLUMNS
NARROW = max(PANEL // 2, LANES)  # the width of a last panel that half as many columns fill
ROWS = TILE_ROWS * PANEL // NARROW  # of a block of narrow panels, which has as many sums as one of PANEL columns
SPREAD = LANES  # between planes: a cache line more, or all n² would meet in the same places of the cache
CACHE = 320 << 10  # bytes of the arrays of a group, which should stay in a thread's cache, with some of U
CACHE_OF_GRADIENT = 2 << 20  # more, as dU is read and written once a group; D of one plane stays in the first cache
BLOCK_OF_GRADIENT = 2500 << 10  # bytes of a block of dU: 128 x 128 for F(4x4)
COPY = 0.08  # the time for one entry of a copy of dU, where that of transforming a channel of a tile is 1

_wide, _narrow = make_tile(TILE_ROWS, PANEL // LANES), make_tile(ROWS, NARROW // LANES)
_turned, _turned_narrow = (make_tile(r, w // LANES, transposed=True) for r, w in ((TILE_ROWS, PANEL), (ROWS, NARROW)))
_turned_rest = make_tile(2, PANEL // LANES, transposed=True)
_turned_narrow_rest = make_tile(2 * PANEL // NARROW, NARROW // LANES, transposed=True)


def forward(x, w, b, y, padding, tile, scale=None, activation="none", slope=0.0):
    """Fill y (N, OH, OW, O) with φ(s (x * w) + b), 3 x 3 taps, stride 1, for x (N, H, W, C) and w (3, 3, C, O).

    b and the scale s are (O,) or None; φ is "none", "relu" or "leaky_relu"; the margins (top, left) are 0 to 2, those
    below and to the right follow from the shape of y.  tile is m, 4 or 3.  All arrays are float32; x and y
    may be strided but for their last axis, w is contiguous.
    """
    # (1) of conv2d
    _run(INPUT, x, w, scale, b, y, padding, tile, {"none": 1.0, "relu": 0.0, "leaky_relu": slope}[activation])


def backward_data(dy, w, dx, padding, tile):
    """Fill dx (N, H, W, C), the gradient of x of `forward` without scale and activation, for the same margins."""
    # (7) (8) of conv2d
    if dy.shape[0] >= threads.count() and _tiles(dy.shape, tile) < _tiles(dx.shape, tile):
        _run(OUTPUT, dy, w.swapaxes(2, 3), None, None, dx, padding, tile, 1.0)
    else:
        _run(INPUT, dy, w[::-1, ::-1].swapaxes(2, 3), None, None, dx, (2 - padding[0], 2 - padding[1]), tile, 1.0)


def backward_weight(x, dy, dw, padding, tile, db=None):
    """Fill dw (3, 3, C, O) by (5)-(7), and db (O,) with Σ dy where there is one, for the margins of `forward`."""
    # (5) (6) of conv2d
    C, O, count, kk = x.shape[3], dy.shape[3], threads.count(), (tile + 2) * (tile + 2)
    C16, width = _up(C, LANES), _up(O, NARROW)
    tiles = dy.shape[0] * _tiles(dy.shape, tile)
    rows, columns, parts = _cut_gradient(C16, width, kk, tiles, count)
    group = _group(CACHE_OF_GRADIENT, kk * (rows + columns), -(-tiles // parts))
    scratch = backend.empty((count, kk * (group * (rows + columns) + 2 * SPREAD + 2 * LANES) + columns))
    dU, sums = backend.empty((parts, kk, C16 * width + SPREAD)), np.empty((parts, width))
    _weight_products(x, dy, dU, sums, scratch, tile, *padding, rows, columns, group, count)
    _weight_gradient(dU, scratch, dw, tile, count)
    if db is not None:
        db[...] = sums.sum(0)[:O]


def _run(side, x, w, scale, b, y, padding, tile, slope):
    """y by (1)-(4) of an INPUT x, or by (5), (8), (9) of an OUTPUT x."""
    C, O, count, kk = x.shape[3], y.shape[3], threads.count(), (tile + 2) * (tile + 2)
    C16, width = _up(C, LANES), _up(O, NARROW)
    tiles = x.shape[0] * _tiles(y.shape if side == INPUT else x.shape, tile)
    group = _group(CACHE, kk * (C16 + min(width, PANEL)), -(-tiles // count))
    scratch = backend.empty((count, kk * (group * (C16 + PANEL) + 2 * SPREAD) + max(C16, 9 * LANES * LANES)))
    U = backend.empty((kk, C * width + SPREAD))
    _transform_weights(w, _padded(scale, width, 1), U, scratch, tile, count)
    _convolve(side, x, U, _padded(b, width, 0), y, scratch, tile, *padding, group, slope, count)


def _tiles(shape, tile):
    """How many tiles cover an image of this shape."""
    if tile not in POINTS:
        raise ValueError(f"conv2d_winograd: tile is {tile}, wanted one of {', '.join(map(str, sorted(POINTS)))}")
    return -(-shape[1] // tile) * -(-shape[2] // tile)


def _group(space, floats, tiles):
    """How many tiles of so many floats fit into so many bytes, in whole blocks of rows; no more than there are."""
    return max(1, min(space // (4 * floats * ROWS), -(-tiles // ROWS))) * ROWS


def _cut_gradient(C16, width, kk, tiles, count):
    """The rows and columns of the blocks of dU, and in how many parts the tiles go, at the least cost.

    Each block of columns needs all of V, each of rows all of D, which costs two thirds of V for a channel.  Threads
    share blocks x parts.  Where blocks differ in size, that is even only if each thread has a part and all blocks.
    With parts there are as many copies of dU, which have to be written and added up.
    """
    heights = [_up(-(-C16 // n), LANES) for n in range(1, C16 // LANES + 1)]
    widths = [min(_up(-(-width // n), PANEL), width) for n in range(1, -(-width // PANEL) + 1)]
    blocks = [(r, c) for r in heights for c in widths if 4 * kk * r * c <= BLOCK_OF_GRADIENT]
    ways = []
    for rows, columns in blocks or [(LANES, widths[-1])]:
        down, across, even = -(-C16 // rows), -(-width // columns), C16 % rows == width % columns == 0
        parts = count // math.gcd(down * across, count) if even else count
        copies = COPY * kk * C16 * width * count / max(tiles, 1) if parts > 1 else 0
        ways.append((across * C16 + down * width * 2 / 3 + copies, rows, columns, parts))
    return min(ways)[1:]


def _up(count, step):
    return -(-count // step) * step


def _padded(values, length, otherwise):
    padded = np.full(length, otherwise, "float32")
    if values is not None:
        padded[: len(values)] = values
    return padded


_scratch, _planes = array(2, writable=True), array(2)


@shared((i64, image_in, _planes, vector_in, image_out, _scratch, i64, i64, i64, i64, f32, i64))
def _convolve(side, x, U, b, y, scratch, tile, top, left, group, slope, count, t):
    """(2)-(4), or (5), (8), (9), for the tiles of thread t."""
    C, whole, kk = x.shape[3], b.shape[0], (tile + 2) * (tile + 2)
    C16 = (C + LANES - 1) // LANES * LANES
    v_plane, m_plane = group * C16 + SPREAD, group * PANEL + SPREAD
    V, M, sums = _parts(scratch[t], kk * v_plane, kk * m_plane)
    grid, first, last = _share(y.shape if side == INPUT else x.shape, tile, top, left, side == OUTPUT, t, count)
    for start in range(first, last, group):
        size = min(group, last - start)
        read_tiles(side, x, grid, start, size, V, (C16, C16), group, v_plane, sums)
        for p in range(0, whole, PANEL):
            width = min(PANEL, whole - p)
            for k in range(kk):
                u = k * U.shape[1] + p * C
                for m in range(0, size, TILE_ROWS if width == PANEL else ROWS):
                    block = (V, k * v_plane + m * C16, C16, U, u, width, M, k * m_plane + m * width, width)
                    if width == PANEL:
                        _wide(*block, C, 1, 0, 0, 0)
                    else:
                        _narrow(*block, C, 1, 0, 0, 0)
            write_tiles(1 - side, M, width, m_plane, b, p, y, grid, start, size, slope)


@shared((image_in, image_in, array(3, writable=True), array(2, f64, writable=True), _scratch, *[i64] * 7))
def _weight_products(x, dy, dU, sums, scratch, tile, top, left, rows, columns, group, count, t):
    """(2), (5), (6) for the blocks of dU, rows x columns, and the parts of the tiles that thread t has."""
    whole, kk, parts = sums.shape[1], (tile + 2) * (tile + 2), dU.shape[0]
    C16 = (x.shape[3] + LANES - 1) // LANES * LANES
    across = (whole + columns - 1) // columns
    blocks = (C16 + rows - 1) // rows * across
    v_plane, d_plane = group * rows + SPREAD, group * columns + SPREAD
    V, D, totals = _parts(scratch[t], kk * v_plane, kk * d_plane)
    for unit in range(blocks * parts * t // count, blocks * parts * (t + 1) // count):
        part, block = unit // blocks, unit % blocks
        c, o = block // across * rows, block % across * columns
        height, width = min(rows, C16 - c), min(columns, whole - o)
        some_x, some_dy = x[:, :, :, c : c + height], dy[:, :, :, o : o + width]
        grid, first, last = _share(dy.shape, tile, top, left, False, part, parts)
        if c == 0:
            sums[part, o : o + width] = 0
        for start in range(first, max(last, first + 1), group):  # once without tiles, too, for zeros
            size = min(group, last - start)
            totals[:width] = 0
            read_tiles(INPUT, some_x, grid, start, size, V, (height, height), group, v_plane, totals)
            read_tiles(OUTPUT, some_dy, grid, start, size, D, (PANEL, width), group, d_plane, totals)
            if c == 0:
                for i in range(width):
                    sums[part, o + i] += totals[i]
            for k in range(kk):
                for p in range(0, width, PANEL):
                    panel, r = min(PANEL, width - p), 0
                    at, to = k * d_plane + p * group, (o + p) * C16 + c * panel
                    while r < height:
                        product = (V, k * v_plane + r, height, D, at, panel, dU[part, k], to + r * panel)
                        r += _add_block(product, panel, height - r, size, start > first)


@inner
def _add_block(product, width, left, size, add):
    """Some rows of (6), of the `left` that remain; returns how many."""
    if width == PANEL and left >= TILE_ROWS:
        _turned(*product, width, size, 1, 0, 0, add)
        return TILE_ROWS
    if width == PANEL:
        _turned_rest(*product, width, size, 1, 0, 0, add)
        return 2
    if left >= ROWS:
        _turned_narrow(*product, width, size, 1, 0, 0, add)
        return ROWS
    _turned_narrow_rest(*product, width, size, 1, 0, 0, add)
    return 2 * PANEL // NARROW


@inner
def _parts(scratch, first, second):
    """A thread's memory in three."""
    return scratch[:first], scratch[first : first + second], scratch[first + second :]


@inner
def _share(shape, tile, top, left, images, t, count):
    """The grid of tiles over an output of this shape, and which are thread t's; those of whole images, if `images`."""
    rows, columns = (shape[1] + tile - 1) // tile, (shape[2] + tile - 1) // tile
    unit = rows * columns if images else 1
    units = shape[0] * rows * columns // max(1, unit)
    return (rows, columns, tile, top, left), units * t // count * unit, units * (t + 1) // count * unit


@shared((image_in, vector_in, _scratch, _scratch, i64, i64))
def _transform_weights(w, scale, U, scratch, tile, count, t):
    """U by (1), of the rows of thread t: column o of row c is at p C + c width + o - p, where its panel begins at p and
    is `width` wide.  Blocks of w go by way of a patch: there with the scale, or, where not o but c is contiguous in w,
    turned over, without one."""
    _, _, C, O = w.shape
    si, sj, sc, so = w.strides[0] // 4, w.strides[1] // 4, w.strides[2] // 4, w.strides[3] // 4
    whole, plane, patch, tap = scale.shape[0], U.shape[1], scratch[t], LANES * LANES
    blocks = (C + LANES - 1) // LANES
    for first in range(blocks * t // count * LANES, blocks * (t + 1) // count * LANES, LANES):
        rows = min(LANES, C - first)
        for o in range(0, O, LANES):
            lanes, p = min(LANES, O - o), o // PANEL * PANEL
            for i in range(3):
                for j in range(3):
                    at, to = i * si + j * sj + first * sc + o * so, (3 * i + j) * tap
                    if so == 1:
                        for c in range(rows):
                            v = simd.load_part(w, at + c * sc, lanes) * simd.load(scale, o)
                            simd.store(patch, to + c * LANES, v)
                    else:
                        transpose(w, at, so, patch, to, LANES, lanes, rows)
            for c in range(rows):
                at = p * C + (first + c) * min(PANEL, whole - p) + o - p
                transforms.weights(tile, patch, c * LANES, 3 * tap, tap, U, at, (tile + 2) * plane, plane)


@shared((array(3), _scratch, image_out, i64, i64))
def _weight_gradient(dU, scratch, dw, tile, count, t):
    """dw by (7) from the sum over the parts' dU, of the rows of one thread."""
    _, _, C, O = dw.shape
    si, sj, sc = dw.strides[0] // 4, dw.strides[1] // 4, dw.strides[2] // 4
    n, whole, C16 = tile + 2, (O + NARROW - 1) // NARROW * NARROW, (C + LANES - 1) // LANES * LANES
    plane, patch = dU.shape[2], scratch[t]
    for c in range(C * t // count, C * (t + 1) // count):
        for o in range(0, O, LANES):
            p = o // PANEL * PANEL
            at = p * C16 + c * min(PANEL, whole - p) + o - p
            for k in range(n * n):
                total = simd.load(dU, k * plane + at)
                for part in range(1, dU.shape[0]):
                    total = total + simd.load(dU, (part * n * n + k) * plane + at)
                simd.store(patch, k * LANES, total)
            result = n * n * LANES
            transforms.weight_gradients(tile, patch, 0, n * LANES, LANES, patch, result, 3 * LANES, LANES)
            for i in range(3):
                for j in range(3):
                    v = simd.load(patch, result + (3 * i + j) * LANES)
                    simd.store_part(dw, i * si + j * sj + c * sc + o, v, min(LANES, O - o))
