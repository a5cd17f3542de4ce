"""The forward kernels of `epilogue`: the statistics of the batch, and y in one pass over x.

Rows are shared out evenly among the threads, whatever image they belong to, so one image keeps all of them busy.
Memory is read in its order, or nearly, for that is what these passes wait for.
"""

from minicnn.ops.epilogue_inner import (
    activated,
    at,
    get,
    kept,
    leaf,
    norm_of,
    part,
    put,
    share,
    slope_at,
    value,
    view,
)
from minicnn.ops.epilogue_plan import AFTER, MASK, NONE, PLAN
from minicnn.ops.epilogue_pool import pooled_rows
from minicnn.simd import (
    LANES,
    address,
    array,
    broadcast,
    f32,
    fma,
    i64,
    image_in,
    image_out,
    kernel,
    prefetch,
    shared,
    u8,
    vector_in,
    vector_out,
)


@leaf
def _input(x, i, alpha, h, w, c, n, p):
    """What batch norm is applied to: x, or φ(x)."""
    v = get(x, i, n)
    return activated(v, slope_at(alpha, h, w, c, n, p), p) if p.norm == AFTER else v


@part
def _add_rows(x, alpha, row0, row1, sums, place, deviations, p):
    """Add rows row0.. up into C numbers at `place`; or deviations from these and their squares, into the 2 C after."""
    C = p.C
    for row in range(row0, row1):
        image, h = row // p.H, row % p.H
        for start in range(0, p.W, p.tile):
            for c in range(0, C, LANES):
                n, j = C - c, place + c
                centre = get(sums, j, n) if deviations else broadcast(f32(0))
                total, squares = broadcast(f32(0)), broadcast(f32(0))
                i = at(x, image, h, start) + c
                for w in range(start, min(start + p.tile, p.W)):
                    prefetch(x.memory, i + x.h)  # wanted after this row, which jumps about too much to be foreseen
                    d = _input(x.memory, i, alpha, h, w, c, n, p) - centre
                    total, squares = total + d, fma(d, d, squares)
                    i += x.w
                if deviations:
                    put(sums, j + 2 * C, get(sums, j + 2 * C, n) + squares, n)
                    j += C
                put(sums, j, get(sums, j, n) + total, n)


@part
def _moments(x, alpha, partial, b, p):
    """Of block b of rows: the mean of its first row, and the sums of deviations from that and of their squares.

    A first row far from the rest does little harm: it makes the variance itself large.
    """
    row0, row1, place = b * p.block, min(len(x) * p.H, (b + 1) * p.block), 3 * b * p.C
    for j in range(place, place + 3 * p.C):
        partial[j] = 0
    _add_rows(view(x), address(alpha), row0, row0 + 1, address(partial), place, 0, p)
    for j in range(place, place + p.C):
        partial[j] /= f32(p.W)
    _add_rows(view(x), address(alpha), row0, row1, address(partial), place, 1, p)


@kernel((vector_in, i64, vector_out, vector_out, PLAN))
def merge(partial, rows, mean, var, p):
    """Mean and biased variance of each channel from the sums of the blocks, in float64 and in order."""
    C = p.C
    blocks, m = len(partial) // (3 * C), float(rows * p.W)
    for c in range(C):
        total, squares = 0.0, 0.0
        for b in range(blocks):
            count, j = (min(rows, (b + 1) * p.block) - b * p.block) * p.W, 3 * b * C + c
            total += count * float(partial[j]) + partial[j + C]
        total /= m
        for b in range(blocks):
            count, j = (min(rows, (b + 1) * p.block) - b * p.block) * p.W, 3 * b * C + c
            d = float(partial[j]) - total
            squares += partial[j + 2 * C] + d * (2.0 * partial[j + C] + count * d)
        mean[c], var[c] = total, squares / m


@shared((image_in, vector_in, vector_out, PLAN, i64))
def statistics(x, alpha, partial, p, threads, t):
    """Per block of rows the sums that `merge` makes mean and variance of; `partial` is (blocks, 3 C)."""
    blocks = (len(x) * p.H + p.block - 1) // p.block
    for b in range(share(blocks, threads, t), share(blocks, threads, t + 1)):
        _moments(x, alpha, partial, b, p)


@part
def _plain_row(x, alpha, table, y, image, u, mask, keep, p):
    """Row u of y where nothing is pooled."""
    h = u - p.top
    inside = h >= 0 and h < p.H
    for start in range(0, p.OW, p.tile):
        for c in range(0, p.C, LANES):
            n, norm = p.C - c, norm_of(table, c, p.C - c, p)
            i, o = at(x, image, h, start - p.left) + c, at(y, image, u, start) + c
            element = ((image * p.OH + u) * p.OW + start) * p.C + c
            for v in range(start, min(start + p.tile, p.OW)):
                out, w = broadcast(f32(0)), v - p.left
                if inside and w >= 0 and w < p.W:
                    out = value(x.memory, i, alpha, h, w, c, n, norm, p)
                if p.dropout != NONE:
                    out = out * kept(image, element, c, mask, keep, p)
                put(y.memory, o, out, n)
                i, o, element = i + x.w, o + y.w, element + p.C


@shared((image_in, vector_in, vector_in, image_out, array(4, u8, writable=True), vector_in, MASK, f32, PLAN, i64))
def forward(x, alpha, table, y, argmax, shares, mask, keep, p, threads, t):
    """y, and argmax where the maximum is pooled."""
    X, Y, A, T, rows = view(x), view(y), address(alpha), address(table), len(x) * p.OH
    row, end = share(rows, threads, t), share(rows, threads, t + 1)
    while row < end:
        image, u = row // p.OH, row % p.OH
        if p.pool == NONE:
            count = 1
            _plain_row(X, A, T, Y, image, u, mask, keep, p)
        else:
            count = min(p.OH - u, end - row)
            pooled_rows(X, A, T, Y, address(argmax), address(shares), image, u, u + count, mask, keep, p)
        row += count
