"""The CPU kernels of `elu`; see elementwise.py."""

from minicnn.backend import Array
from minicnn.ops import checks, elementwise
from minicnn.ops.elu import Cache


def forward(x: Array, *, alpha: float = 1.0) -> tuple[Array, Cache]:
    """See `elu.forward`."""
    checks.floating("elu", x=x)
    alpha = float(alpha)
    y = elementwise.values(elementwise.ELU, x, alpha)  # (1)
    return y if y is NotImplemented else (y, Cache(x, alpha))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `elu.backward`."""
    x, alpha = cache
    checks.upstream("elu", dy, x.shape)
    dx = elementwise.gradients(elementwise.ELU, dy, x, alpha)  # (2)
    return dx if dx is NotImplemented else (dx,)
