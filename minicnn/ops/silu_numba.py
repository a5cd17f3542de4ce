"""The CPU kernels of `silu`; see elementwise.py."""

from minicnn.backend import Array
from minicnn.ops import checks, elementwise
from minicnn.ops.silu import Cache


def forward(x: Array) -> tuple[Array, Cache]:
    """See `silu.forward`."""
    checks.floating("silu", x=x)
    y = elementwise.values(elementwise.SILU, x)  # (1)
    return y if y is NotImplemented else (y, Cache(x))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `silu.backward`."""
    (x,) = cache
    checks.upstream("silu", dy, x.shape)
    dx = elementwise.gradients(elementwise.SILU, dy, x)  # (3)
    return dx if dx is NotImplemented else (dx,)
