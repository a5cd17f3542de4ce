"""The parts of the kernels of `epilogue`, sixteen channels at once: how a value of h, a mask and a gradient are found.

In every loop c is the first of `n` channels, of which 16 or, at the end of a row, fewer exist.  Choices in the Plan `p`
are the same in a whole call, so the processor foresees each branch.
"""

from typing import Any, NamedTuple

from minicnn import simd
from minicnn.ops.epilogue_plan import AFTER, BEFORE, CHANNELS, NONE, RELU, SLOPE
from minicnn.simd import LANES, broadcast, f32, fma, greater, maximum, select, shift_right, spread
from minicnn.simd.compile import OPTIONS
from minicnn.simd.parts import inner_with

part = simd.inner
leaf = inner_with({**OPTIONS, "forceinline": True})  # so that vectors stay in registers


@leaf
def share(total, parts, k):
    """Where part k of `total` things begins."""
    return total * k // parts


class View(NamedTuple):
    """The memory of an image array and its strides in elements."""

    memory: Any
    n: int
    h: int
    w: int


@leaf
def view(a):
    return View(simd.address(a), a.strides[0] // 4, a.strides[1] // 4, a.strides[2] // 4)


@leaf
def at(a, n, h, w):
    """The offset of pixel (n, h, w) of a View."""
    return n * a.n + h * a.h + w * a.w


@leaf
def get(a, i, n):
    return simd.load(a, i) if n >= LANES else simd.load_part(a, i, n)


@leaf
def put(a, i, v, n):
    if n >= LANES:
        simd.store(a, i, v)
    else:
        simd.store_part(a, i, v, n)


@leaf
def get_bytes(a, i, n):
    return simd.load_bytes(a, i) if n >= LANES else simd.load_bytes_part(a, i, n)


@leaf
def put_bytes(a, i, v, n):
    if n >= LANES:
        simd.store_bytes(a, i, v)
    else:
        simd.store_bytes_part(a, i, v, n)


class Norm(NamedTuple):
    """B(v) = (v - centre) scale + shift for sixteen channels, and the two numbers of its backward."""

    centre: Any
    scale: Any
    shift: Any
    mean_gradient: Any
    pull: Any


@leaf
def norm_of(table, c, n, p):
    """Rows of a table (5, C) as a Norm; zeros where there is no norm."""
    zero = broadcast(f32(0))
    if p.norm == NONE:
        return Norm(zero, zero, zero, zero, zero)
    C = p.C
    return Norm(
        get(table, c, n),
        get(table, C + c, n),
        get(table, 2 * C + c, n),
        get(table, 3 * C + c, n),
        get(table, 4 * C + c, n),
    )


@leaf
def normalised(v, norm):
    return fma(v - norm.centre, norm.scale, norm.shift)


@leaf
def activated(v, slope, p):
    """φ(v); NaN stays NaN."""
    zero = broadcast(f32(0))
    if p.activation == RELU:
        return maximum(zero, v)
    if p.activation == SLOPE:
        return select(greater(v, zero), v, slope * v)
    return v


@leaf
def slope_at(alpha, h, w, c, n, p):
    """α of sixteen channels of a pixel."""
    if p.activation != SLOPE:
        return broadcast(f32(0))
    return get(alpha, ((h * p.W + w) * p.C if p.per_element else 0) + c, n)


@leaf
def value(x, i, alpha, h, w, c, n, norm, p):
    """h of (1) for sixteen channels of a pixel, which x has at i."""
    v = get(x, i, n)
    if p.norm == BEFORE:
        v = normalised(v, norm)
    v = activated(v, slope_at(alpha, h, w, c, n, p), p)
    if p.norm == AFTER:
        v = normalised(v, norm)
    return v  # (1)


@leaf
def _finalise(k):
    k = (k ^ shift_right(k, 16)) * spread(0x85EBCA6B)
    k = (k ^ shift_right(k, 13)) * spread(0xC2B2AE35)
    return k ^ shift_right(k, 16)


@leaf
def kept(image, element, c, mask, keep, p):
    """s of (2) for sixteen channels; element counts the numbers of y before them."""
    k = spread(image * p.C + c if p.dropout == CHANNELS else element) + simd.lanes()
    u = _finalise(_finalise(k ^ spread(mask.a)) + spread(mask.b))
    return select(simd.unsigned_less(u, spread(mask.threshold)), broadcast(f32(0)), broadcast(keep))


@leaf
def windows_of(position, k, s, count):
    """Which windows of k taps and stride s hold a position, counted from the start of the first: from .. to - 1."""
    return max(0, (position - k + s) // s), min(count, position // s + 1)


@leaf
def better(entry, tap, best, where):
    """The larger of an entry and the best before it, and where it is: the first of equals, the last NaN."""
    larger, nan = greater(entry, best), simd.unordered(entry, entry)
    best = select(larger, entry, select(nan, entry, best))
    return best, select(larger, tap, select(nan, tap, where))


@leaf
def negative(v):
    """min(v, 0), NaN where v is."""
    return simd.minimum(broadcast(f32(0)), v)


@leaf
def slope_back(d, v, slope, p):
    """φ'(v) d."""
    zero = broadcast(f32(0))
    if p.activation == RELU:
        return select(greater(v, zero), d, zero)
    if p.activation == SLOPE:
        return select(greater(v, zero), d, slope * d)
    return d


@leaf
def norm_back(d, centred, norm, p):
    """B'(v)ᵀ d, centred being v - centre: (13) of batch_norm, or for given statistics (4) of batch_norm_inference."""
    if p.batch_statistics:
        return fma(norm.scale, d - norm.mean_gradient, norm.pull * centred)
    return norm.scale * d
