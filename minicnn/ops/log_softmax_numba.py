"""The CPU kernels of `log_softmax`; see rows_of_scores.py."""

from minicnn.backend import Array
from minicnn.ops import checks, rows_of_scores
from minicnn.ops.log_softmax import Cache
from minicnn.ops.softmax import scores


def forward(x: Array) -> tuple[Array, Cache]:
    """See `log_softmax.forward`."""
    scores("log_softmax", x)
    y = rows_of_scores.values(x, True)  # (1)
    return y if y is NotImplemented else (y, Cache(y))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `log_softmax.backward`."""
    (y,) = cache
    checks.upstream("log_softmax", dy, y.shape)
    dx = rows_of_scores.gradients(dy, y, True)  # (3)
    return dx if dx is NotImplemented else (dx,)
