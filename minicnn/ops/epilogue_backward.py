"""The backward kernel of `epilogue`, which runs twice where there is a batch norm: sums first, then dx.

A row of x is done at a time: what its pixels get from the windows that hold them is gathered in a row of dh, which
stays in the cache, and goes from there through batch norm and activation.  So every thread writes its own part of dx.
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
    negative,
    norm_back,
    norm_of,
    normalised,
    part,
    put,
    share,
    slope_at,
    slope_back,
    view,
    windows_of,
)
from minicnn.ops.epilogue_plan import AFTER, BEFORE, MASK, MAX, NONE, PLAN
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


@part
def _unpool(a, shares, room, image, h, p):
    """Row h of dh by (3), at `room`: what every window that meets it sends to its pixels."""
    C, zero = p.C, broadcast(f32(0))
    u0, u1 = windows_of(h + p.lead_h, p.kh, p.sh, p.OH)
    if u0 == u1 or not p.apart:
        for j in range(0, p.W * C, LANES):
            put(a.dh, room + j, zero, p.W * C - j)
    for u in range(u0, u1):
        for v in range(p.OW):
            first_w = v * p.sw - p.lead_w
            w0, w1, tap = max(first_w, 0), min(first_w + p.kw, p.W), (h + p.lead_h - u * p.sh) * p.kw - first_w
            i, e, part_of = at(a.dy, image, u, v), ((image * p.OH + u) * p.OW + v) * C, shares[u] * shares[p.OH + v]
            for c in range(0, C, LANES):
                n, won, d = C - c, spread(0), get(a.dy.memory, i + c, C - c)
                if p.pool == MAX:
                    won = get_bytes(a.argmax, e + c, n)
                else:
                    d = d * broadcast(part_of)
                for w in range(w0, w1):
                    j = room + w * C + c
                    sent = select(equal(won, spread(tap + w)), d, zero) if p.pool == MAX else d
                    put(a.dh, j, sent if p.apart else get(a.dh, j, n) + sent, n)


@part
def _row(a, room, place, sums_only, image, h, mask, keep, p):
    """One row of dx by (4), or only the sums it adds to dβ and dγ/r; in both, what it adds to `sums` at `place`."""
    C, tile = p.C, p.tile if sums_only else 1
    for start in range(0, p.W, tile):
        for c in range(0, C, LANES):
            n, norm = C - c, norm_of(a.table, c, C - c, p)
            first, second = broadcast(f32(0)), broadcast(f32(0))
            i, o = at(a.x, image, h, start) + c, at(a.dx, image, h, start) + c
            j, step = (
                (room + start * C + c, C)
                if p.pool != NONE
                else (at(a.dy, image, h + p.top, start + p.left) + c, a.dy.w)
            )
            element = ((image * p.OH + h + p.top) * p.OW + start + p.left) * C + c
            for w in range(start, min(start + tile, p.W)):
                d = get(a.dh if p.pool != NONE else a.dy.memory, j, n)
                if p.pool == NONE and p.dropout != NONE:
                    d = d * kept(image, element, c, mask, keep, p)
                v = get(a.x.memory, i, n)
                slope = slope_at(a.alpha, h, w, c, n, p)
                entered = normalised(v, norm) if p.norm == BEFORE else v
                if p.norm == AFTER:
                    v = activated(v, slope, p)
                    if not sums_only:
                        d = norm_back(d, v, norm, p)
                if p.norm != AFTER or not sums_only:
                    if p.per_element and not sums_only:
                        m = place + w * C + c
                        put(a.sums, m, fma(d, negative(entered), get(a.sums, m, n)), n)
                    elif p.learned and not sums_only:
                        first = fma(d, negative(entered), first)
                    d = slope_back(d, entered, slope, p)
                if sums_only:
                    first, second = first + d, fma(d, v - norm.centre, second)
                else:
                    if p.norm == BEFORE:
                        d = norm_back(d, v, norm, p)
                    put(a.dx.memory, o, d, n)  # (4)
                i, o, j, element = i + a.x.w, o + a.dx.w, j + step, element + C
            if sums_only or (p.learned and not p.per_element):
                put(a.sums, place + c, get(a.sums, place + c, n) + first, n)
            if sums_only:
                put(a.sums, place + C + c, get(a.sums, place + C + c, n) + second, n)


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
        if p.pool != NONE:
            _unpool(a, shares, room, image, h, p)
        _row(a, room, h * p.W * p.C if map_rows else place, sums_only, image, h, mask, keep, p)


IMAGES = image_in, vector_in, vector_in, image_in, simd.array(4, simd.u8), vector_in  # x to shares


@shared((*IMAGES, vector_out, image_out, vector_out, i64, i64, MASK, f32, PLAN, i64))
def backward(x, alpha, table, dy, argmax, shares, dh, dx, sums, sums_only, tasks, mask, keep, p, threads, t):
    """dx (4) and dα, or with `sums_only` dβ and dγ/r, (2 C,), for `add_up`.

    dh is room for a row of dh (W C) for each thread, where there are windows.  sums is (tasks, size of the sum); where
    α is per element it is dα itself.
    """
    a = Operands(
        view(x), address(alpha), address(table), view(dy), address(argmax), address(dh), view(dx), address(sums)
    )
    for k in range(share(tasks, threads, t), share(tasks, threads, t + 1)):
        _task(a, shares, sums, len(x), t * p.W * p.C, sums_only, k, tasks, mask, keep, p)


@kernel((vector_in, i64, vector_out))
def add_up(partial, blocks, out):
    """out = the sum of the rows of `partial` (blocks, size of out), in order, in float64."""
    width = len(out)
    for j in range(width):
        total = 0.0
        for b in range(blocks):
            total += partial[b * width + j]
        out[j] = total
