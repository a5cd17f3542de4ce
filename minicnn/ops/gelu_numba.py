"""The CPU kernels of `gelu`; see elementwise.py."""

from minicnn.backend import Array
from minicnn.ops import checks, elementwise, gelu
from minicnn.ops.gelu import Cache


def forward(x: Array, *, approximate: bool = False) -> tuple[Array, Cache]:
    """See `gelu.forward`."""
    gelu._check(x, approximate)
    y = elementwise.values(elementwise.GELU_TANH if approximate else elementwise.GELU, x)  # (2) (6)
    return y if y is NotImplemented else (y, Cache(x, approximate))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `gelu.backward`."""
    x, approximate = cache
    checks.upstream("gelu", dy, x.shape)
    dx = elementwise.gradients(elementwise.GELU_TANH if approximate else elementwise.GELU, dy, x)  # (4) (8)
    return dx if dx is NotImplemented else (dx,)
