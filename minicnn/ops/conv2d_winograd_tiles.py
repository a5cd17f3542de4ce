"""How the kernels of `conv2d_winograd` reach the tiles of an image: reading, writing, and fetching ahead.

Tile number t of a grid (rows, columns, m, margin) is tile (t // columns % rows, t % columns) of image
t // (rows columns).  It writes m x m pixels of the output and reads m + 2 in each direction from the input, there
beginning the margin further to the top and left; of both what lies inside the image.
"""

from minicnn import simd
from minicnn.ops import conv2d_winograd_transforms as transforms
from minicnn.simd import LANES, inner

OUTPUT, INPUT = 0, 1  # which side of the convolution an image is on


@inner
def _place(side, shape, strides, grid, t):
    """Where tile t begins in an image, as an offset of elements, and its window; then its row and column of tiles."""
    rows, columns, m, top, left = grid
    i, j, extent = t // columns % rows, t % columns, m
    h, w = i * m, j * m
    if side == INPUT:
        h, w, extent = h - top, w - left, m + 2
    at = t // (rows * columns) * (strides[0] // 4) + h * (strides[1] // 4) + w * (strides[2] // 4)
    return at, (max(0, -h), min(extent, shape[1] - h), max(0, -w), min(extent, shape[2] - w)), i, j


@inner
def read_tiles(side, x, grid, start, size, V, panel, height, plane, totals):
    """V: the transforms of `size` tiles from number `start` on, by (2) of an INPUT x, by (5) of an OUTPUT.

    Entry k of channel c of the q-th is in V at k plane + p height + q width + c - p, where the panel with c begins at
    p and is `width` wide: panel[0], or less for the last of panel[1] channels.  An OUTPUT is also added up over its
    pixels, into totals[c].
    """
    m, C, down, right = grid[2], x.shape[3], x.strides[1] // 4, x.strides[2] // 4
    row = (m + 2) * plane
    for q in range(size):
        at, (top, bottom, left, end), _, _ = _place(side, x.shape, x.strides, grid, start + q)
        for c in range(0, C, LANES):
            p, window = c // panel[0] * panel[0], (top, bottom, left, end, min(LANES, C - c))
            v = p * height + q * min(panel[0], panel[1] - p) + c - p
            if side == INPUT:
                transforms.inputs(m, x, at + c, down, right, V, v, row, plane, window)
            else:
                transforms.output_gradients(m, x, at + c, down, right, V, v, row, plane, window, totals, c)


@inner
def write_tiles(side, M, width, plane, b, first, y, grid, start, size, slope):
    """Channels first..first + width of y from the products M of `size` tiles from number `start` on, by (4) for an
    OUTPUT y, by (9) for an INPUT."""
    m, O, down, right = grid[2], y.shape[3], y.strides[1] // 4, y.strides[2] // 4
    row = (m + 2) * plane
    for q in range(size):
        at, (top, bottom, left, end), i, j = _place(side, y.shape, y.strides, grid, start + q)
        for o in range(first, min(first + width, O), LANES):
            v, window = q * width + o - first, (top, bottom, left, end, min(LANES, O - o))
            if side == OUTPUT:
                transforms.outputs(m, M, v, row, plane, y, at + o, down, right, window, b, o, slope)
            else:
                above, before = min(i, 1), min(j, 1)
                transforms.input_gradients(m, M, v, row, plane, y, at + o, down, right, window, above, before)


@inner
def fetch_row(side, x, grid, t, i, first, channels):
    """Ask for some channels of row i of the pixels that belong to tile t."""
    at, (a, b, d, e), _, _ = _place(side, x.shape, x.strides, grid, t)
    if a <= i < b:
        for j in range(d, min(e, grid[2])):
            place = at + i * (x.strides[1] // 4) + j * (x.strides[2] // 4) + first
            for c in range(place, place + channels, LANES):
                simd.prefetch(x, c)
