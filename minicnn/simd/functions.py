"""Exponentials of sixteen numbers at once, and what is made of them, to within a few units of the last place.

    exp(x) = 2ⁿ exp(r),   n = the whole number nearest x/ln 2,   r = x − n ln 2,   |r| <= ½ ln 2           (1)
    exp(r) − 1 = r + r² (1/2! + r/3! + .. + r⁵/7!)                       the series; the rest is below 1e-8 r  (2)
    exp(x) − 1 = 2ⁿ (exp(r) − 1) + (2ⁿ − 1)                              which for n = 0 loses nothing     (3)
    ln(1 + e) = 2 artanh s = 2 (s + s³/3 + s⁵/5 + ..),   s = e/(2 + e)   s <= 1/3 for e in 0..1            (4)
    1 − erf(x) = (a₁ t + .. + a₅ t⁵) exp(−x²),   t = 1/(1 + p x)         for x >= 0                        (5)

(5) is 7.1.26 of Abramowitz & Stegun, Handbook of Mathematical Functions (1964); its error is below 1.5e-7.  NaN gives
NaN throughout.
"""

import math

from llvmlite import ir

from minicnn.simd.compile import inner
from minicnn.simd.vector import (
    _FLOATS,
    _INTS,
    FLOATS,
    LANES,
    _call,
    _elementwise,
    broadcast,
    fma,
    maximum,
    minimum,
    select,
    unordered,
)

nearest = _elementwise("nearest", FLOATS, 1, lambda b, x: _call(b, "llvm.rint.v16f32", x.type, [x]))
power_of_two = _elementwise("power_of_two", FLOATS, 1, lambda b, n: _power_of_two(b, n))

LOWEST, HIGHEST = -104.0, 89.0  # exp rounds to 0 below, and to infinity above
PER_LN2 = 1 / math.log(2)
LN2_HIGH = 0.693145751953125  # of few digits, so that n times it is exact
LN2_LOW = math.log(2) - LN2_HIGH
SERIES = tuple(1 / math.factorial(k) for k in range(7, 1, -1))
ARTANH = tuple(1 / k for k in range(17, 0, -2))
ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
ERF_P = 0.3275911


def _power_of_two(builder, n):
    """2ⁿ for whole n in -126..127: n + 127 is the exponent's bits."""
    n = builder.fptosi(n, _INTS)
    bits = builder.shl(builder.add(n, ir.Constant(_INTS, [127] * LANES)), ir.Constant(_INTS, [23] * LANES))
    return builder.bitcast(bits, _FLOATS)


@inner
def _polynomial(x, coefficients):
    """By Horner's rule, the highest power first."""
    p = broadcast(coefficients[0])
    for c in coefficients[1:]:
        p = fma(p, x, broadcast(c))
    return p


@inner
def _reduced(x):
    """n and exp(r) - 1."""
    n = nearest(x * broadcast(PER_LN2))
    r = fma(n, broadcast(-LN2_LOW), fma(n, broadcast(-LN2_HIGH), x))  # (1)
    return n, fma(r * r, _polynomial(r, SERIES), r)  # (2)


@inner
def exp(x):
    """exp(x)."""
    n, less = _reduced(minimum(maximum(x, broadcast(LOWEST)), broadcast(HIGHEST)))
    half = nearest(n * broadcast(0.5))  # 2ⁿ itself may be no number
    y = (less + broadcast(1)) * power_of_two(half) * power_of_two(n - half)  # (1)
    return select(unordered(x, x), x, y)


@inner
def exp_minus_1(x):
    """exp(x) - 1 for x <= 0."""
    n, less = _reduced(maximum(x, broadcast(-40)))
    scale = power_of_two(n)
    return select(unordered(x, x), x, fma(scale, less, scale - broadcast(1)))  # (3)


@inner
def log_of_1_plus(e):
    """ln(1 + e) for e in 0..1."""
    s = e / (e + broadcast(2))
    return (s + s) * _polynomial(s * s, ARTANH)  # (4)


@inner
def error_function_complement(x, exp_of_minus_square):
    """1 - erf(x) for x >= 0, given exp(-x²)."""
    t = broadcast(1) / fma(x, broadcast(ERF_P), broadcast(1))
    return t * _polynomial(t, ERF) * exp_of_minus_square  # (5)


@inner
def magnitude(x):
    """|x|."""
    return maximum(x, broadcast(0) - x)
