"""The logistic sigmoid (Rumelhart, Hinton & Williams 1986, Nature 323, equation 2).

    y = σ(x) = 1/(1 + exp(−x))                                                           (1)

For x far below 0, exp(−x) overflows.  Multiplying numerator and denominator by exp(x) gives exp(x)/(1 + exp(x)), so
with one exponential that is never above 1,

    σ(x) = 1/(1 + e) where x >= 0, else e/(1 + e),   e = exp(−|x|)                       (2)

which also keeps all digits of a σ(x) near 0.

Backward.  By (1), ∂y/∂x = exp(−x)/(1 + exp(−x))², and 1 − y = exp(−x)/(1 + exp(−x)), so

    ∂y/∂x = y (1 − y)                                                                    (3)
    dx = dy y (1 − y)                                                                    (4)

Memory.  (4) needs y alone, so x may go.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    y: Array


@accelerated("numba")
def forward(x: Array) -> tuple[Array, Cache]:
    """y by (1), of any shape, in 0..1."""
    checks.floating("sigmoid", x=x)
    y = logistic(x)
    return y, Cache(y)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    (y,) = cache
    checks.upstream("sigmoid", dy, y.shape)
    return ((dy * (y * (1 - y))).astype(y.dtype, copy=False),)  # (4)


def logistic(x: Array) -> Array:
    """σ(x), for the ops whose gradients contain it."""
    xp = array_module(x)
    e = xp.exp(-abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)  # (2)
