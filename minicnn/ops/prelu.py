"""The rectifier with a learned slope (He et al. 2015, arXiv:1502.01852, section 2.1).

Forward.  x is (N, ...), and α broadcasts against x without its first axis: shape (1,) is one slope for all, (C,) one
for each channel, (H, W, C) one for each position of each channel.  Write j(i) for the
entry of α that element i of x meets:

    yᵢ = xᵢ where xᵢ > 0, else α[j(i)] xᵢ                                                (1)

Backward.  An xᵢ enters L through its own yᵢ alone, so by (1)

    dxᵢ = dyᵢ where xᵢ > 0, else α[j(i)] dyᵢ                                             (2)

α[j] enters L through every yᵢ that meets it, with ∂yᵢ/∂α[j] = xᵢ where xᵢ <= 0 and 0 elsewhere, which is min(xᵢ, 0):

    dα[j] = Σᵢ min(xᵢ, 0) dyᵢ over all i with j(i) = j                                   (3)

that is, over the batch and over every axis along which α was broadcast.  At x = 0 the op has no derivative; (2) takes
the left one, as PyTorch does.
"""

from typing import NamedTuple

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    x: Array
    alpha: Array


@accelerated("numba")
def forward(x: Array, alpha: Array) -> tuple[Array, Cache]:
    """y by (1) from x (N, ...) and alpha, which broadcasts against x[0]; ValueError where it does not."""
    checks.floating("prelu", x=x, alpha=alpha)
    if not _fits(alpha.shape, x.shape):
        raise ValueError(
            f"prelu: alpha has shape {alpha.shape}, wanted one that broadcasts to {x.shape[1:]}, x {x.shape} without "
            "its first axis"
        )
    return array_module(x).where(x > 0, x, alpha * x), Cache(x, alpha)  # (1)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """(dx, dalpha) from dy = ∂L/∂y."""
    x, alpha = cache
    checks.upstream("prelu", dy, x.shape)
    xp, lead = array_module(x), x.ndim - alpha.ndim
    broadcast = tuple(a for a in range(x.ndim) if a < lead or alpha.shape[a - lead] == 1)
    dx = xp.where(x > 0, dy, alpha * dy)  # (2)
    dalpha = (xp.minimum(x, 0) * dy).sum(broadcast, dtype="float64").reshape(alpha.shape)  # (3)
    return dx.astype(x.dtype, copy=False), dalpha.astype(alpha.dtype)


def _fits(alpha: tuple[int, ...], x: tuple[int, ...]) -> bool:
    try:
        return len(x) > 0 and np.broadcast_shapes(alpha, x[1:]) == x[1:]
    except ValueError:
        return False
