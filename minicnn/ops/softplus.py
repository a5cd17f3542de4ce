"""Softplus, the smooth rectifier (Dugas et al. 2001, "Incorporating second-order functional knowledge for better option
pricing", NIPS 13, section 3).

    y = ln(1 + exp(x))                                                                   (1)

For x > 0, ln(1 + exp(x)) = ln(exp(x) (exp(−x) + 1)) = x + ln(1 + exp(−x)), so with no exponential above 1

    y = max(x, 0) + ln(1 + exp(−|x|))                                                    (2)

which loses nothing at x = ±10⁴.

Backward.  By (1) and the chain rule, ∂y/∂x = exp(x)/(1 + exp(x)) = 1/(1 + exp(−x)), the logistic sigmoid:

    dx = dy σ(x)                                                                         (3)

PyTorch gives y = x beyond x = 20; (2) needs no such threshold, and differs from it there by less than exp(−20).
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks
from minicnn.ops.sigmoid import logistic


class Cache(NamedTuple):
    x: Array


@accelerated("numba")
def forward(x: Array) -> tuple[Array, Cache]:
    """y by (2), of any shape."""
    checks.floating("softplus", x=x)
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x))), Cache(x)  # (2)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    (x,) = cache
    checks.upstream("softplus", dy, x.shape)
    return ((dy * logistic(x)).astype(x.dtype, copy=False),)  # (3)
