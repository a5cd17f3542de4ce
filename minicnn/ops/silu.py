"""The sigmoid-weighted linear unit, or swish (Elfwing, Uchibe & Doya 2018, arXiv:1702.03118, section 2).

    y = x σ(x),   σ(x) = 1/(1 + exp(−x))                                                 (1)

Elementwise, so dx = dy ∂y/∂x.  By (3) of `sigmoid`, ∂σ/∂x = σ (1 − σ), so the product rule gives

    ∂y/∂x = σ + x σ (1 − σ) = σ (1 + x (1 − σ))                                          (2)
    dx = dy σ (1 + x (1 − σ))                                                            (3)

y takes most of its values twice (it has a minimum near x = −1.28), so it cannot stand in for x in the cache.
"""

from typing import NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks
from minicnn.ops.sigmoid import logistic


class Cache(NamedTuple):
    x: Array


@accelerated("numba")
def forward(x: Array) -> tuple[Array, Cache]:
    """y by (1), of any shape."""
    checks.floating("silu", x=x)
    return x * logistic(x), Cache(x)  # (1)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    (x,) = cache
    checks.upstream("silu", dy, x.shape)
    sigma = logistic(x)
    return ((dy * (sigma * (1 + x * (1 - sigma)))).astype(x.dtype, copy=False),)  # (3)
