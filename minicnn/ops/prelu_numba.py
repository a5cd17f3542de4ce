"""The CPU kernel of `prelu`: an `epilogue` that only rectifies."""

from minicnn.backend import Array
from minicnn.ops import checks, epilogue_numba
from minicnn.ops.parts import Spec
from minicnn.ops.prelu import Cache

PRELU = Spec(activation="prelu")


def forward(x: Array, alpha: Array) -> tuple[Array, Cache]:
    """See `prelu.forward`."""
    checks.floating("prelu", x=x, alpha=alpha)
    result = epilogue_numba.forward(x, alpha, spec=PRELU)  # (1)
    return result if result is NotImplemented else (result[0], Cache(x, alpha))


def backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """See `prelu.backward`."""
    x, alpha = cache
    checks.upstream("prelu", dy, x.shape)
    epilogue = epilogue_numba.only(x, PRELU)._replace(alpha=alpha)
    result = epilogue_numba.backward(dy, epilogue)  # (2) (3)
    return result if result is NotImplemented else result[:2]
