"""The sum of arrays of one shape, as where a residual branch meets its shortcut (He et al. 2016, arXiv:1512.03385).

Forward.  x₁ .. x_K have one shape:

    y = x₁ + .. + x_K                                                                    (1)

Backward.  Elementwise ∂y/∂x_k = 1 for every k, so every array gets the whole gradient:

    dx_k = dy                                                                            (2)

Nothing is broadcast: where it were, (2) would have to be summed over the axes that were.  Each dx_k may be dy itself.
"""

import functools
import operator
from typing import NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    shape: tuple[int, ...]
    dtypes: tuple[str, ...]


@accelerated()
def forward(*xs: Array) -> tuple[Array, Cache]:
    """y by (1), from left to right; ValueError where there is no array or where shapes differ."""
    checks.floating("add", **{f"xs[{k}]": x for k, x in enumerate(xs)})
    shapes = [x.shape for x in xs]
    if len(set(shapes)) != 1:
        raise ValueError(f"add: shapes {shapes}, wanted one shape, of at least one array")
    return functools.reduce(operator.add, xs), Cache(shapes[0], tuple(x.dtype.name for x in xs))  # (1)


@accelerated()
def backward(dy: Array, cache: Cache) -> tuple[Array, ...]:
    """One gradient for each array, from dy = ∂L/∂y."""
    checks.upstream("add", dy, cache.shape)
    return tuple(dy.astype(dtype, copy=False) for dtype in cache.dtypes)  # (2)
