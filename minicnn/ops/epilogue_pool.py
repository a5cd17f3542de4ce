"""Pooling in the forward kernel of `epilogue`: rows of y from rows of x, maxima and means alike.

Where no two windows meet, each is a matter of its own.  Where they do, what a window has of one row of x is found once
for all windows below each other that share it; and where they are `by_two`, two columns at a time join the windows they
are in, so that they too are looked at once.
"""

import numpy as np

from minicnn.ops.epilogue_inner import (
    at,
    better,
    get,
    get_bytes,
    kept,
    leaf,
    norm_of,
    part,
    put,
    put_bytes,
    value,
    windows_of,
)
from minicnn.ops.epilogue_plan import AVG, MAX, NONE
from minicnn.simd import LANES, broadcast, f32, prefetch, select, spread, unsigned_less


@leaf
def _entry(x, alpha, image, h, w, c, n, norm, p):
    """h of (1) for sixteen channels of a pixel, what a margin holds, or for a maximum what the pooling's padding does.

    What the next rows of windows begin with is fetched meanwhile.
    """
    if h >= 0 and h < p.H and w >= 0 and w < p.W:
        i = at(x, image, h, w) + c
        prefetch(x.memory, i + (p.sh if p.apart else 1) * x.h)
        return value(x.memory, i, alpha, h, w, c, n, norm, p)
    outside = w < -p.left or w >= p.W + p.right
    return broadcast(f32(-np.inf if outside and p.pool == MAX else 0))


@leaf
def _join(entry, tap, out, where, p):
    """The maximum of a window's entries so far and another, and where it is; or their sum."""
    return better(entry, tap, out, where) if p.pool == MAX else (out + entry, where)


@leaf
def _of_row(x, alpha, image, h, v, c, n, norm, p):
    """What window v has of row h: the maximum of its entries and where it is, or their sum."""
    first_w, where = v * p.sw - p.lead_w, spread(0)
    out = _entry(x, alpha, image, h, first_w, c, n, norm, p)
    for j in range(1, p.kw):
        out, where = _join(_entry(x, alpha, image, h, first_w + j, c, n, norm, p), spread(j), out, where, p)
    return out, _inside(where, v, p)


@leaf
def _inside(where, v, p):
    """A tap of a row, but not one in the padding left of it: where all is -inf, that is where the maximum was found."""
    first = spread(max(0, p.lead_w - p.left - v * p.sw))
    return select(unsigned_less(where, first), first, where)


@leaf
def _two_columns(x, alpha, image, h, w, unfinished, c, n, norm, p):
    """Let columns w and w + 1 join the windows they are in: what the one that now has all has, and the unfinished."""
    young, young_tap, old, old_tap = unfinished  # these have two columns, and four
    one = _entry(x, alpha, image, h, w, c, n, norm, p)
    two = _entry(x, alpha, image, h, w + 1, c, n, norm, p)
    pair, pair_tap = _join(two, spread(1), one, spread(0), p)
    last, last_tap = (one, spread(0)) if p.kw % 2 else (pair, pair_tap)
    if p.kw <= 4:
        done, done_tap = _join(last, last_tap + spread(2), young, young_tap, p)
    else:
        done, done_tap = _join(last, last_tap + spread(4), old, old_tap, p)
        old, old_tap = _join(pair, pair_tap + spread(2), young, young_tap, p)
    return done, done_tap, (pair, pair_tap, old, old_tap)


@leaf
def _finished(out, shares, image, u, v, element, c, mask, keep, p):
    """y of (2) from a window's maximum or sum."""
    if p.pool == AVG:
        out = out * broadcast(shares[u] * shares[p.OH + v])
    return out * kept(image, element, c, mask, keep, p) if p.dropout != NONE else out


@part
def _row_apart(x, alpha, table, y, argmax, shares, image, u, mask, keep, p):
    """Row u of y where no two windows meet."""
    first_h = u * p.sh - p.lead_h
    h0, h1 = max(first_h, -p.top), min(first_h + p.kh, p.H + p.bottom)
    for v in range(p.OW):
        for c in range(0, p.C, LANES):
            n, norm = p.C - c, norm_of(table, c, p.C - c, p)
            element = ((image * p.OH + u) * p.OW + v) * p.C + c
            out, where = _of_row(x, alpha, image, h0, v, c, n, norm, p)
            where = where + spread((h0 - first_h) * p.kw)
            for h in range(h0 + 1, h1):
                of_row, tap = _of_row(x, alpha, image, h, v, c, n, norm, p)
                out, where = _join(of_row, tap + spread((h - first_h) * p.kw), out, where, p)
            if p.pool == MAX:
                put_bytes(argmax, element, where, n)
            put(y.memory, at(y, image, u, v) + c, _finished(out, shares, image, u, v, element, c, mask, keep, p), n)


@leaf
def _to_windows(of_row, tap, y, argmax, shares, image, h, u0, u1, v, c, n, mask, keep, p):
    """Let what window v has of row h join the windows u0..u1 - 1 below each other that have this row."""
    for u in range(u0, u1):
        first_h, o = u * p.sh - p.lead_h, at(y, image, u, v) + c
        element = ((image * p.OH + u) * p.OW + v) * p.C + c
        out, where = of_row, tap + spread((h - first_h) * p.kw)
        if h != max(first_h, -p.top):
            before = get_bytes(argmax, element, n) if p.pool == MAX else where
            out, where = _join(out, where, get(y.memory, o, n), before, p)
        if p.pool == MAX:
            put_bytes(argmax, element, where, n)
        if h == min(first_h + p.kh, p.H + p.bottom) - 1:
            out = _finished(out, shares, image, u, v, element, c, mask, keep, p)
        put(y.memory, o, out, n)


@part
def _rows_that_meet(x, alpha, table, y, argmax, shares, image, u_begin, u_end, mask, keep, p):
    """Rows u_begin.. of y where windows meet."""
    end = min((u_end - 1) * p.sh - p.lead_h + p.kh, p.H + p.bottom)
    lag, zero = (p.kw - 1) // 2 if p.by_two else 0, broadcast(f32(0))
    for h in range(max(u_begin * p.sh - p.lead_h, -p.top), end):
        u0, u1 = windows_of(h + p.lead_h, p.kh, p.sh, p.OH)
        u0, u1 = max(u0, u_begin), min(u1, u_end)
        for c in range(0, p.C, LANES):
            n, norm, unfinished = p.C - c, norm_of(table, c, p.C - c, p), (zero, spread(0), zero, spread(0))
            for step in range(p.OW + lag):
                v = step - lag
                if p.by_two:
                    out, tap, unfinished = _two_columns(
                        x, alpha, image, h, 2 * step - p.lead_w, unfinished, c, n, norm, p
                    )
                    tap = _inside(tap, v, p)
                else:
                    out, tap = _of_row(x, alpha, image, h, v, c, n, norm, p)
                if v >= 0:
                    _to_windows(out, tap, y, argmax, shares, image, h, u0, u1, v, c, n, mask, keep, p)


@part
def pooled_rows(x, alpha, table, y, argmax, shares, image, u_begin, u_end, mask, keep, p):
    """Rows u_begin..u_end - 1 of y by (2) where something is pooled."""
    if p.apart:
        for u in range(u_begin, u_end):
            _row_apart(x, alpha, table, y, argmax, shares, image, u, mask, keep, p)
    else:
        _rows_that_meet(x, alpha, table, y, argmax, shares, image, u_begin, u_end, mask, keep, p)
