"""The leaky rectifier (Maas, Hannun & Ng 2013, "Rectifier nonlinearities improve neural network acoustic models").

    y = x where x > 0, else a x                                                          (1)

Elementwise, so dx = dy ∂y/∂x, and by (1)

    dx = dy where x > 0, else a dy                                                       (2)

At x = 0 the op has no derivative; (2) takes the left one, a, as PyTorch does.  The cache keeps x and not y: for a < 0
the sign of y would not tell that of x.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    x: Array
    slope: float


@accelerated("numba")
def forward(x: Array, *, slope: float = 0.01) -> tuple[Array, Cache]:
    """y by (1), of any shape; slope is a."""
    checks.floating("leaky_relu", x=x)
    slope = float(slope)  # a NumPy float64 would make float32 arrays float64
    return array_module(x).where(x > 0, x, slope * x), Cache(x, slope)  # (1)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    x, slope = cache
    checks.upstream("leaky_relu", dy, x.shape)
    return (array_module(x).where(x > 0, dy, slope * dy).astype(x.dtype, copy=False),)  # (2)
