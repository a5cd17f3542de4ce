"""The CPU kernel of `max_pool2d`: an `epilogue` that only pools."""

from minicnn.backend import Array
from minicnn.ops import checks, epilogue_numba
from minicnn.ops.epilogue_plan import declined, pooling
from minicnn.ops.max_pool2d import Cache, pool_windows


def forward(x: Array, *, kernel_size, stride=None, padding=0, ceil_mode: bool = False) -> tuple[Array, Cache]:
    """See `max_pool2d.forward`."""
    windows = pool_windows("max_pool2d", x, kernel_size, stride, padding, ceil_mode)
    result = epilogue_numba.forward(x, spec=pooling("max", windows))  # (1) (2)
    return result if result is NotImplemented else (result[0], Cache(result[1].argmax, windows))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `max_pool2d.backward`."""
    argmax, windows = cache
    checks.upstream("max_pool2d", dy, argmax.shape)
    if declined(dy) or argmax.dtype != "uint8":
        return NotImplemented
    shape = len(dy), *windows.image, dy.shape[3]
    return (epilogue_numba.transposed(dy, shape, pooling("max", windows), argmax=argmax),)  # (4)
