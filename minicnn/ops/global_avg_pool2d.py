"""Global average pooling (Lin, Chen & Yan 2014, arXiv:1312.4400, section 3.2).

Forward.  x is (N, H, W, C); every channel becomes its mean over the image:

    y[n,c] = 1/(H W) Σ_rq x[n,r,q,c]                                                     (1)

Backward.  x[n,r,q,c] enters L through y[n,c] alone, with ∂y[n,c]/∂x[n,r,q,c] = 1/(H W), so

    dx[n,r,q,c] = dy[n,c]/(H W)                                                          (2)

the same at every position.  The cache holds a shape alone.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    shape: tuple[int, ...]
    dtype: str


@accelerated("numba")
def forward(x: Array) -> tuple[Array, Cache]:
    """y (N, C) by (1) from x (N, H, W, C); ValueError where H or W is 0."""
    _check(x)
    return x.mean((1, 2), dtype="float64").astype(x.dtype), Cache(x.shape, x.dtype.name)  # (1)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    N, H, W, C = cache.shape
    checks.upstream("global_avg_pool2d", dy, (N, C))
    share = (dy / (H * W)).astype(cache.dtype, copy=False)  # (2)
    return (array_module(dy).broadcast_to(share[:, None, None], cache.shape).copy(),)  # (2)


def _check(x: Array) -> None:
    checks.image("global_avg_pool2d", x)
    if 0 in x.shape[1:3]:
        raise ValueError(f"global_avg_pool2d: x {x.shape} (N, H, W, C) has no pixels to take a mean of")
