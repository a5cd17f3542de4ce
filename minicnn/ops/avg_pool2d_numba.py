"""The CPU kernel of `avg_pool2d`: an `epilogue` that only pools."""

from minicnn.backend import Array
from minicnn.ops import checks, epilogue_numba
from minicnn.ops.avg_pool2d import Cache
from minicnn.ops.epilogue_plan import declined, pooling
from minicnn.ops.max_pool2d import pool_windows


def forward(
    x: Array, *, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True
) -> tuple[Array, Cache]:
    """See `avg_pool2d.forward`."""
    windows = pool_windows("avg_pool2d", x, kernel_size, stride, padding, ceil_mode)
    result = epilogue_numba.forward(x, spec=pooling("avg", windows, count_include_pad))  # (1)
    return result if result is NotImplemented else (result[0], Cache(windows, count_include_pad, result[0].shape))


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `avg_pool2d.backward`."""
    windows, count_include_pad, shape = cache
    checks.upstream("avg_pool2d", dy, shape)
    if declined(dy):
        return NotImplemented
    shape = shape[0], *windows.image, shape[3]
    return (epilogue_numba.transposed(dy, shape, pooling("avg", windows, count_include_pad)),)  # (3)
