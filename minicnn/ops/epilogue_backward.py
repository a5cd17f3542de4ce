"""The backward kernel of `epilogue`, which runs twice where there is a batch norm: sums first, then dx.

A row of x is done at a time.  Where no two windows meet, each pixel looks into the one that may hold it; where they
do, `unpool` gathers a row of dh first.  So every thread writes its own part of dx.
"""

from typing import Any, NamedTuple

from minicnn import simd
from minicnn.ops.epilogue_inner import (
    View,
    activated,
    at,
    get,
    get_bytes,
    kept,
    leaf,
    negative,
    norm_back,
    norm_of,
    part,
    put,
    share,
    slope_at,
    slope_back,
    view,
)
from minicnn.ops.epilogue_plan import AFTER, AVG, BEFORE, MASK, MAX, NONE, PLAN
from minicnn.ops.epilogue_unpool import unpool
from minicnn.simd import (
    LANES,
    address,
    broadcast,
    equal,
    f32,
    fma,
    i64,
    image_in,
    image_out,
    kernel,
    prefetch,
    select,
    shared,
    spread,
    vector_in,
    vector_out,
)


class Operands(NamedTuple):
    """The memory of a call's arrays; see `backward`."""

    x: View
    alpha: Any
    table: Any
    dy: View
    argmax: Any
    dh: Any
    dx: View
    sums: Any


@leaf
def _sent(a, j, e, tap, part_of, image, c, n, mask, keep, p):
    """dh by (3) for sixteen channels of a pixel: what the one window that holds it sends, which dy has at j."""
    d = get(a.dy.memory, j, n)
    if p.pool == MAX:
        return select(equal(get_bytes(a.argmax, e, n), spread(tap)), d, broadcast(f32(0)))
    if p.pool == AVG:
        return d * broadcast(part_of)
    return d * kept(image, e, c, mask, keep, p) if p.dropout != NONE else d


@leaf
def _arrived(a, i, o, d, slope, place, place_of_alpha, sums_only, c, n, p):
    """dx by (4) from d of dh, written at o, or only what dβ and dγ/r get, for sixteen channels that x has at i."""
    norm, entered = norm_of(a.table, c, n, p), get(a.x.memory, i, n)
    centred = entered  # what entered batch norm, less its mean
    if p.norm == BEFORE:
        centred = entered - norm.centre
        entered = fma(centred, norm.scale, norm.shift)
    elif p.norm == AFTER:
        centred = activated(entered, slope, p) - norm.centre
        d = d if sums_only else norm_back(d, centred, norm, p)
    if p.learned and not sums_only:
        put(a.sums, place_of_alpha, fma(d, negative(entered), get(a.sums, place_of_alpha, n)), n)
    if p.norm != AFTER or not sums_only:
        d = slope_back(d, entered, slope, p)
    if sums_only:
        put(a.sums, place, get(a.sums, place, n) + d, n)
        put(a.sums, place + p.C, fma(d, centred, get(a.sums, place + p.C, n)), n)
    else:
        put(a.dx.memory, o, norm_back(d, centred, norm, p) if p.norm == BEFORE else d, n)  # (4)


@part
def _row(a, shares, room, place, sums_only, image, h, mask, keep, p):
    """One row of dx by (4), or only the sums it adds to dβ and dγ/r; in both, what it adds to `sums` at `place`."""
    C = p.C
    u, v = (h + p.lead_h) // p.sh, p.lead_w // p.sw  # where windows are apart, the one that may hold the pixel
    tap_h, tap_w = h + p.lead_h - u * p.sh, p.lead_w - v * p.sw
    for w in range(p.W):
        held = u < p.OH and tap_h < p.kh and v < p.OW and tap_w < p.kw
        i, o, e = at(a.x, image, h, w), at(a.dx, image, h, w), ((image * p.OH + u) * p.OW + v) * C
        j, tap = at(a.dy, image, u, v), tap_h * p.kw + tap_w
        part_of = shares[u] * shares[p.OH + v] if p.pool == AVG and held and p.apart else f32(0)
        place_of_alpha = place + (w * C if p.per_element else 0)
        for c in range(0, C, LANES):
            n, d = C - c, broadcast(f32(0))
            if not p.apart:
                d = get(a.dh, room + (p.lead_w + w) * C + c, n)
            elif held:
                d = _sent(a, j + c, e + c, tap, part_of, image, c, n, mask, keep, p)
            slope = slope_at(a.alpha, h, w, c, n, p)
            _arrived(a, i + c, o + c, d, slope, place + c, place_of_alpha + c, sums_only, c, n, p)
        tap_w += 1
        if tap_w == p.sw:
            v, tap_w = v + 1, 0


@part
def _row_of_winners(a, place, image, u, p):
    """What row u of windows adds to dβ and dγ/r where windows tile x: the sums of a window are made in registers."""
    C, zero, first_h = p.C, broadcast(f32(0)), u * p.sh
    for v in range(p.OW):
        first_w = v * p.sw
        j, e = at(a.dy, image, u, v), ((image * p.OH + u) * p.OW + v) * C
        for c in range(0, C, LANES):
            n, m, norm = C - c, place + c, norm_of(a.table, c, C - c, p)
            won, dy = get_bytes(a.argmax, e + c, n), get(a.dy.memory, j + c, n)
            first, second = get(a.sums, m, n), get(a.sums, m + C, n)
            for h in range(first_h, min(first_h + p.kh, p.H)):
                i, tap = at(a.x, image, h, first_w) + c, (h - first_h) * p.kw
                for w in range(first_w, min(first_w + p.kw, p.W)):
                    prefetch(a.x.memory, i + p.sh * a.x.h)
                    d, v_in = select(equal(won, spread(tap)), dy, zero), get(a.x.memory, i, n)
                    slope = slope_at(a.alpha, h, w, c, n, p)
                    if p.norm == AFTER:
                        centred = activated(v_in, slope, p) - norm.centre
                    else:
                        centred = v_in - norm.centre
                        d = slope_back(d, fma(centred, norm.scale, norm.shift), slope, p)
                    first, second = first + d, fma(d, centred, second)
                    i, tap = i + a.x.w, tap + 1
            put(a.sums, m, first, n)
            put(a.sums, m + C, second, n)


@part
def _task(a, shares, sums, N, room, sums_only, k, tasks, mask, keep, p):
    """Task k: a block of rows with sums of its own, or where dα is a map, some rows of it, of every image."""
    map_rows = p.per_element and not sums_only
    if map_rows:
        h0, h1 = share(p.H, tasks, k), share(p.H, tasks, k + 1)
        height, first, last = h1 - h0, 0, N * (h1 - h0)
        place, size = h0 * p.W * p.C, height * p.W * p.C
    else:
        h0, height, first, last = 0, p.H, k * p.block, min(N * p.H, (k + 1) * p.block)
        size = len(sums) // tasks
        place = k * size
    for j in range(place, place + size):
        sums[j] = 0
    for row in range(first, last):
        image, h = row // height, h0 + row % height
        if sums_only and p.pool == MAX and p.tiled:
            if h % p.sh == 0:
                _row_of_winners(a, place, image, h // p.sh, p)
            continue
        if not p.apart:
            unpool(a, shares, room, sums_only, image, h, p)
        _row(a, shares, room, h * p.W * p.C if map_rows else place, sums_only, image, h, mask, keep, p)


IMAGES = image_in, vector_in, vector_in, image_in, simd.array(4, simd.u8), vector_in  # x to shares


@shared((*IMAGES, vector_out, image_out, vector_out, i64, i64, MASK, f32, PLAN, i64))
def backward(x, alpha, table, dy, argmax, shares, dh, dx, sums, sums_only, tasks, mask, keep, p, threads, t):
    """dx (4) and dα, or with `sums_only` dβ and dγ/r, (2 C,), for `add_up`.

    dh is room for a row of dh (reach C) for each thread, where windows overlap.  sums is (tasks, size of the sum);
    where α is per element it is dα itself.
    """
    a = Operands(
        view(x), address(alpha), address(table), view(dy), address(argmax), address(dh), view(dx), address(sums)
    )
    for k in range(share(tasks, threads, t), share(tasks, threads, t + 1)):
        _task(a, address(shares), sums, len(x), t * p.reach * p.C, sums_only, k, tasks, mask, keep, p)


@kernel((vector_in, i64, vector_out))
def add_up(partial, blocks, out):
    """out = the sum of the rows of `partial` (blocks, size of out), in order, in float64."""
    width = len(out)
    for j in range(width):
        total = 0.0
        for b in range(blocks):
            total += partial[b * width + j]
        out[j] = total
