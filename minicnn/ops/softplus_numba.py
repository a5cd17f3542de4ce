"""The CPU kernels of `softplus`; see elementwise.py."""

from minicnn.backend import Array
from minicnn.ops import checks, elementwise
from minicnn.ops.softplus import Cache


def forward(x: Array) -> tuple[Array, Cache]:
    """See `softplus.forward`."""
    checks.floating("softplus", x=x)
    y = elementwise.values(elementwise.SOFTPLUS, x)  # (2)
    return y if y is NotImplemented else (y, Cache(x))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `softplus.backward`."""
    (x,) = cache
    checks.upstream("softplus", dy, x.shape)
    dx = elementwise.gradients(elementwise.SOFTPLUS, dy, x)  # (3)
    return dx if dx is NotImplemented else (dx,)
