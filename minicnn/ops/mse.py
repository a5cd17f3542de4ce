"""The squared error (Legendre 1805, Gauss 1809: the method of least squares).

Forward.  x and the target t have one shape, of n elements:

    ℓᵢ = (xᵢ − tᵢ)²                                                                      (1)
    L  = Σᵢ ℓᵢ/D,   D = n for "mean", 1 for "sum"                                        (2)

and for "none" the result is the array of the ℓᵢ.  There is no factor ½, as in PyTorch's MSELoss.

Backward.  By (2), ∂L/∂ℓᵢ = dL/D, which for "none" is given as dℓᵢ, and by (1) ∂ℓᵢ/∂xᵢ = 2 (xᵢ − tᵢ):

    dℓᵢ = dL/D                                                                           (3)
    dxᵢ = 2 dℓᵢ (xᵢ − tᵢ)                                                                (4)

The target is data and gets no gradient (it would be −dx).
"""

from typing import NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import reductions


class Cache(NamedTuple):
    x: Array
    target: Array
    reduction: str


@accelerated()
def forward(x: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, Cache]:
    """The loss by (2), 0-d, or by (1), of the shape of x, for "none"; ValueError for a mean over 0 elements."""
    reductions.check("mse", "x", x, target, reduction)
    losses = (x - target) ** 2  # (1)
    return reductions.reduce(losses, reduction, x.dtype.name), Cache(x, target, reduction)  # (2)


@accelerated()
def backward(dloss: Array | float, cache: Cache) -> tuple[Array]:
    """(dx,) from dloss = ∂L/∂loss: a number, or an array like x after reduction "none"."""
    x, target, reduction = cache
    dlosses = reductions.upstream("mse", dloss, x, reduction)  # (3)
    return ((2 * dlosses * (x - target)).astype(x.dtype, copy=False),)  # (4)
