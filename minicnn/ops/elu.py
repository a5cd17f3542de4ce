"""The exponential linear unit (Clevert, Unterthiner & Hochreiter 2016, arXiv:1511.07289, section 3).

    y = x where x > 0, else α (exp(x) − 1)                                               (1)

Elementwise, so dx = dy ∂y/∂x.  By (1), ∂y/∂x is 1 on the right and α exp(x) on the left:

    dx = dy where x > 0, else α exp(x) dy                                                (2)

The two sides meet with equal derivatives at x = 0 for α = 1 alone; for other α the op has no derivative there, and (2)
takes the left one, as PyTorch does.  The exponential is taken of min(x, 0), so that the side which is not chosen cannot
overflow.  The cache holds x and not y: y + α = α exp(x) would lose digits, and for α < 0 y does not tell the sign of x.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    x: Array
    alpha: float


@accelerated("numba")
def forward(x: Array, *, alpha: float = 1.0) -> tuple[Array, Cache]:
    """y by (1), of any shape; alpha is α, of any sign."""
    checks.floating("elu", x=x)
    xp, alpha = array_module(x), float(alpha)  # a NumPy scalar would not keep the dtype of x
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0))), Cache(x, alpha)  # (1)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    x, alpha = cache
    checks.upstream("elu", dy, x.shape)
    xp = array_module(x)
    dx = xp.where(x > 0, dy, alpha * xp.exp(xp.minimum(x, 0)) * dy)  # (2)
    return (dx.astype(x.dtype, copy=False),)
