"""The hyperbolic tangent (LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.4).

    y = tanh(x) = (exp(x) − exp(−x))/(exp(x) + exp(−x))                                  (1)

Elementwise, so dx = dy ∂y/∂x.  Write S and D for numerator and denominator of (1): ∂S/∂x = D and ∂D/∂x = S, so by the
quotient rule

    ∂y/∂x = (D D − S S)/D² = 1 − y²                                                      (2)
    dx = dy (1 − y²)                                                                     (3)

Memory.  (3) needs y alone, so x may go.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    y: Array


@accelerated("numba")
def forward(x: Array) -> tuple[Array, Cache]:
    """y by (1), of any shape, in −1..1."""
    checks.floating("tanh", x=x)
    y = array_module(x).tanh(x)  # (1)
    return y, Cache(y)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    (y,) = cache
    checks.upstream("tanh", dy, y.shape)
    return ((dy * (1 - y * y)).astype(y.dtype, copy=False),)  # (3)
