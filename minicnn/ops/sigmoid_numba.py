"""The CPU kernels of `sigmoid`; see elementwise.py."""

from minicnn.backend import Array
from minicnn.ops import checks, elementwise
from minicnn.ops.sigmoid import Cache


def forward(x: Array) -> tuple[Array, Cache]:
    """See `sigmoid.forward`."""
    checks.floating("sigmoid", x=x)
    y = elementwise.values(elementwise.SIGMOID, x)  # (2)
    return y if y is NotImplemented else (y, Cache(y))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `sigmoid.backward`."""
    (y,) = cache
    checks.upstream("sigmoid", dy, y.shape)
    dx = elementwise.gradients(elementwise.SIGMOID, dy, y)  # (4)
    return dx if dx is NotImplemented else (dx,)
