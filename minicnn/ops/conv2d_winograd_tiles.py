"""How the kernels of `conv2d_winograd` reach the tiles of an image, to read and to write them.

Tile number t of a grid (rows, columns, m, margin) is tile (t // columns % rows, t % columns) of image
t // (rows columns).  It writes m x m pixels of the output and reads m + 2 in each direction from the input, there
beginning the margin further to the top and left; of both what lies inside the image.

Tiles come from memory, or the last cache, in many short pieces, which the processor does not foresee.  So with each
tile the one after the next is asked for.
"""

from minicnn.ops import conv2d_winograd_transforms as transforms
from minicnn.simd import LANES, inner

OUTPUT, INPUT = 0, 1  # which side of the convolution an image is on


@inner
def _place(side, strides, grid, t):
    """Where tile t begins in an image: as an offset of elements, as its pixel (h, w), as its tile (i, j)."""
    rows, columns, m, top, left = grid
    i, j = t // columns % rows, t % columns
    h, w = i * m, j * m
    if side == INPUT:
        h, w = h - top, w - left
    return t // (rows * columns) * (strides[0] // 4) + h * (strides[1] // 4) + w * (strides[2] // 4), h, w, i, j


@inner
def _window(side, shape, m, h, w):
    """What there is of a tile that begins at pixel (h, w)."""
    extent = m + 2 if side == INPUT else m
    return max(0, -h), min(extent, shape[1] - h), max(0, -w), min(extent, shape[2] - w)


@inner
def read_tiles(side, x, grid, start, size, V, panel, height, plane, totals):
    """V: the transforms of `size` tiles from number `start` on, by (2) of an INPUT x, by (5) of an OUTPUT.

    Entry k of channel c of the q-th is in V at k plane + p height + q width + c - p, where the panel with c begins at
    p and is `width` wide: panel[0], or less for the last of panel[1] channels.  An OUTPUT is also added up over its
    pixels, into totals[c].
    """
    m, C, down, right = grid[2], x.shape[3], x.strides[1] // 4, x.strides[2] // 4
    row = (m + 2) * plane
    this, following = _place(side, x.strides, grid, start), _place(side, x.strides, grid, start + 1)
    for q in range(size):
        at, h, w, _, _ = this
        this, following = following, _place(side, x.strides, grid, start + q + 2)
        ahead = following[0] - at
        top, bottom, left, end = _window(side, x.shape, m, h, w)
        for c in range(0, C, LANES):
            p, window = c // panel[0] * panel[0], (top, bottom, left, end, min(LANES, C - c))
            v = p * height + q * min(panel[0], panel[1] - p) + c - p
            if side == INPUT:
                transforms.inputs(m, x, at + c, down, right, V, v, row, plane, window, ahead)
            else:
                transforms.output_gradients(m, x, at + c, down, right, V, v, row, plane, window, ahead, totals, c)


@inner
def write_tiles(side, M, width, plane, b, first, y, grid, start, size, slope):
    """Channels first..first + width of y from the products M of `size` tiles from number `start` on, by (4) for an
    OUTPUT y, by (9) for an INPUT."""
    m, O, down, right = grid[2], y.shape[3], y.strides[1] // 4, y.strides[2] // 4
    row = (m + 2) * plane
    this, following = _place(side, y.strides, grid, start), _place(side, y.strides, grid, start + 1)
    for q in range(size):
        at, h, w, i, j = this
        this, following = following, _place(side, y.strides, grid, start + q + 2)
        ahead = following[0] - at
        top, bottom, left, end = _window(side, y.shape, m, h, w)
        for o in range(first, min(first + width, O), LANES):
            v, window = q * width + o - first, (top, bottom, left, end, min(LANES, O - o))
            if side == OUTPUT:
                transforms.outputs(m, M, v, row, plane, y, at + o, down, right, window, ahead, b, o, slope)
            else:
                above, before = min(i, 1), min(j, 1)
                transforms.input_gradients(m, M, v, row, plane, y, at + o, down, right, window, ahead, above, before)
