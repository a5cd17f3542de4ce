"""Every sample as one row of features.

Forward.  x is (N, D₁, ..., D_k), and y is (N, D₁ ··· D_k) with the last axis of x running fastest (C order):

    y[n, (.. (i₁ D₂ + i₂) ..) D_k + i_k] = x[n, i₁, ..., i_k]                            (1)

Backward.  (1) is one to one: every x enters L through one y, as it is, so

    dx[n, i₁, ..., i_k] = dy[n, (.. (i₁ D₂ + i₂) ..) D_k + i_k]                          (2)

For an image (N, H, W, C) the channel runs fastest; where channels come first, as in PyTorch, it runs slowest, so the
weights of a linear layer behind this op are ordered differently there.
"""

import math
from typing import Any, NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    shape: tuple[int, ...]
    dtype: Any


@accelerated()
def forward(x: Array) -> tuple[Array, Cache]:
    """y by (1) from x (N, ...), a view of x where its strides allow."""
    checks.floating("flatten", x=x)
    if x.ndim < 1:
        raise ValueError(f"flatten: x has shape {x.shape}, wanted (N, ...)")
    return x.reshape(x.shape[0], math.prod(x.shape[1:])), Cache(x.shape, x.dtype)  # (1)


@accelerated()
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    checks.upstream("flatten", dy, (cache.shape[0], math.prod(cache.shape[1:])))
    return (dy.reshape(cache.shape).astype(cache.dtype, copy=False),)  # (2)
