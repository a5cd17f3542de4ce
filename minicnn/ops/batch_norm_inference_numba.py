"""The CPU kernel of `batch_norm_inference`: an `epilogue` that only normalises."""

from minicnn.backend import Array
from minicnn.ops import checks, epilogue_numba
from minicnn.ops.batch_norm_inference import Cache
from minicnn.ops.epilogue import Cache as Epilogue
from minicnn.ops.parts import Spec


def forward(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float = 1e-5) -> tuple[Array, Cache]:
    """See `batch_norm_inference.forward`."""
    checks.per_channel("batch_norm_inference", x, gamma=gamma, beta=beta, mean=mean, var=var)
    spec = Spec(norm="after", eps=float(eps))
    result = epilogue_numba.forward(x, None, gamma, beta, mean, var, spec=spec)  # (1) (2) (3)
    if result is NotImplemented:
        return result
    y, cache = result
    return y, Cache(x, gamma, cache.mean, cache.var, spec.eps)


def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """See `batch_norm_inference.backward`."""
    x, gamma, mean, var, eps = cache
    checks.upstream("batch_norm_inference", dy, x.shape)
    spec, beta = Spec(norm="after", eps=eps), gamma  # no gradient depends on β
    result = epilogue_numba.backward(
        dy, Epilogue(x, None, gamma, beta, mean, var, None, None, spec, 0, False)
    )  # (4) (5) (6)
    return result if result is NotImplemented else (result[0], result[2], result[3])
