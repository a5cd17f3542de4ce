"""The CPU kernels of `tanh`; see elementwise.py."""

from minicnn.backend import Array
from minicnn.ops import checks, elementwise
from minicnn.ops.tanh import Cache


def forward(x: Array) -> tuple[Array, Cache]:
    """See `tanh.forward`."""
    checks.floating("tanh", x=x)
    y = elementwise.values(elementwise.TANH, x)  # (1)
    return y if y is NotImplemented else (y, Cache(y))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `tanh.backward`."""
    (y,) = cache
    checks.upstream("tanh", dy, y.shape)
    dx = elementwise.gradients(elementwise.TANH, dy, y)  # (3)
    return dx if dx is NotImplemented else (dx,)
