"""The CPU kernel of `leaky_relu`: an `epilogue` that only rectifies."""

from minicnn.backend import Array
from minicnn.ops import checks, epilogue_numba
from minicnn.ops.epilogue_plan import declined, rows
from minicnn.ops.leaky_relu import Cache
from minicnn.ops.parts import Spec


def forward(x: Array, *, slope: float = 0.01) -> tuple[Array, Cache]:
    """See `leaky_relu.forward`."""
    if declined(x):
        return NotImplemented
    y, cache = epilogue_numba.forward(rows(x), spec=Spec(activation="leaky_relu", slope=float(slope)))  # (1)
    return y.reshape(x.shape), Cache(x, cache.spec.slope)


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `leaky_relu.backward`."""
    x, slope = cache
    checks.upstream("leaky_relu", dy, x.shape)
    return epilogue_numba.elementwise_backward(dy, x, Spec(activation="leaky_relu", slope=slope))  # (2)
