"""The rectifier (Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines").

    y = max(x, 0)                                                                        (1)

Elementwise, so dx = dy ∂y/∂x.  By (1), ∂y/∂x is 1 for x > 0 and 0 for x < 0, so

    dx = dy where x > 0, else 0                                                          (2)

At x = 0 the op has no derivative; (2) takes the left one, 0, as PyTorch does.

Memory.  y > 0 exactly where x > 0, so the cache holds y, which the next op holds anyway, and x may go.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    y: Array


@accelerated("numba")
def forward(x: Array) -> tuple[Array, Cache]:
    """y by (1), of any shape."""
    checks.floating("relu", x=x)
    y = array_module(x).maximum(x, 0)  # (1)
    return y, Cache(y)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    (y,) = cache
    checks.upstream("relu", dy, y.shape)
    return (array_module(y).where(y > 0, dy, 0).astype(y.dtype, copy=False),)  # (2)
