"""The CPU kernel of `relu`: an `epilogue` that only rectifies."""

from minicnn.backend import Array
from minicnn.ops import checks, epilogue_numba
from minicnn.ops.epilogue_plan import declined, rows
from minicnn.ops.parts import Spec
from minicnn.ops.relu import Cache

RELU = Spec(activation="relu")


def forward(x: Array) -> tuple[Array, Cache]:
    """See `relu.forward`."""
    if declined(x):
        return NotImplemented
    y = epilogue_numba.forward(rows(x), spec=RELU)[0].reshape(x.shape)  # (1)
    return y, Cache(y)


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `relu.backward`."""
    (y,) = cache
    checks.upstream("relu", dy, y.shape)
    return epilogue_numba.elementwise_backward(dy, y, RELU)  # (2)
