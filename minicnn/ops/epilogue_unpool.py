"""dh of `epilogue` where windows overlap: a row of it, from every window that holds some of its pixels.

The row stays in the cache, with what lies left and right of the image, so no tap of a window is an exception.
"""

from minicnn.ops.epilogue_inner import at, get, get_bytes, leaf, part, put, windows_of
from minicnn.ops.epilogue_plan import MAX, MOST_TAPS
from minicnn.simd import LANES, broadcast, equal, f32, prefetch, select, spread

NO_TAP = -MOST_TAPS


@part
def unpool(a, shares, room, sums_only, image, h, p):
    """Row h of dh by (3) at `room` of a.dh; a is the Operands of `epilogue_backward`."""
    if p.by_two:
        _by_two(a, shares, room, sums_only, image, h, p)
    else:
        _by_any(a, shares, room, image, h, p)


@leaf
def _if(tap, won, d, p):
    """d where a row of taps has its winner at this tap, 0 elsewhere."""
    return select(equal(won, spread(tap if tap < p.kw else NO_TAP)), d, broadcast(f32(0)))


@leaf
def _to_winner(s, won, d, p):
    """Add d to the sum of the column that tap `won` stands in."""
    s0, s1, s2, s3, s4, s5 = s
    s0, s1, s2 = s0 + _if(0, won, d, p), s1 + _if(1, won, d, p), s2 + _if(2, won, d, p)
    if p.kw > 3:
        s3, s4, s5 = s3 + _if(3, won, d, p), s4 + _if(4, won, d, p), s5 + _if(5, won, d, p)
    return s0, s1, s2, s3, s4, s5


@leaf
def _to_all(s, d, p):
    """Add d to the sum of each column of a window."""
    s0, s1, s2, s3, s4, s5 = s
    s3 = s3 + d if p.kw > 3 else s3
    s4 = s4 + d if p.kw > 4 else s4
    s5 = s5 + d if p.kw > 5 else s5
    return s0 + d, s1 + d, s2 + d, s3, s4, s5


@leaf
def _fetch(a, image, h, v, c, sums_only):
    """Fetch what will be wanted of x and dx: this pass is busy computing, and the next one waits for memory."""
    for w in range(2 * v, 2 * v + 2):
        prefetch(a.x.memory, at(a.x, image, h, w) + c)
        if not sums_only:
            prefetch(a.dx.memory, at(a.dx, image, h, w) + c)


@part
def _by_two(a, shares, room, sums_only, image, h, p):
    """`unpool` for windows `by_two`: the sums of the next six columns stay in registers."""
    C, zero = p.C, broadcast(f32(0))
    u0, u1 = windows_of(h + p.lead_h, p.kh, p.sh, p.OH)
    for c in range(0, C, LANES):
        n, j, s = C - c, room + c, (zero, zero, zero, zero, zero, zero)
        for v in range(p.OW):
            i, e = at(a.dy, image, u0, v) + c, ((image * p.OH + u0) * p.OW + v) * C + c
            _fetch(a, image, h, v, c, sums_only)
            prefetch(a.dy.memory, i + (u1 - u0) * a.dy.h)
            for u in range(u0, u1):
                d = get(a.dy.memory, i, n)
                if p.pool == MAX:
                    s = _to_winner(s, get_bytes(a.argmax, e, n) - spread((h + p.lead_h - u * p.sh) * p.kw), d, p)
                else:
                    s = _to_all(s, d * broadcast(shares[u] * shares[p.OH + v]), p)
                i, e = i + a.dy.h, e + p.OW * C
            put(a.dh, j, s[0], n)
            put(a.dh, j + C, s[1], n)
            s = s[2], s[3], s[4], s[5], zero, zero
            j += 2 * C
        for _ in range(2 * p.OW, p.reach):
            put(a.dh, j, s[0], n)
            s = s[1], s[2], s[3], zero, zero, zero
            j += C


@part
def _by_any(a, shares, room, image, h, p):
    """`unpool` for any windows: what each of them sends is added to the row."""
    C, zero = p.C, broadcast(f32(0))
    u0, u1 = windows_of(h + p.lead_h, p.kh, p.sh, p.OH)
    for j in range(room, room + p.reach * C, LANES):
        put(a.dh, j, zero, room + p.reach * C - j)
    for u in range(u0, u1):
        for v in range(p.OW):
            tap, part_of = (h + p.lead_h - u * p.sh) * p.kw, shares[u] * shares[p.OH + v]
            i, e = at(a.dy, image, u, v), ((image * p.OH + u) * p.OW + v) * C
            for c in range(0, C, LANES):
                n, won, d = C - c, spread(0), get(a.dy.memory, i + c, C - c)
                if p.pool == MAX:
                    won = get_bytes(a.argmax, e + c, n)
                else:
                    d = d * broadcast(part_of)
                j = room + v * p.sw * C + c
                for t in range(tap, tap + p.kw):
                    sent = select(equal(won, spread(t)), d, zero) if p.pool == MAX else d
                    put(a.dh, j, get(a.dh, j, n) + sent, n)
                    j += C
