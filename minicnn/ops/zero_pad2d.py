"""Zeros around an image.

Forward.  x is (N, H, W, C); t, b, l, r rows and columns of zeros go to the top, bottom, left and right of it:

    y[n,u,v,c] = x[n, u − t, v − l, c] where t <= u < t + H and l <= v < l + W, else 0   (1)

and y is (N, t + H + b, l + W + r, C).

Backward.  x[n,i,j,c] enters L through y[n, i + t, j + l, c] alone, as it is, and the zeros are constants, so

    dx[n,i,j,c] = dy[n, i + t, j + l, c]                                                 (2)

dx is dy without its margin, a view of dy.  The cache holds sizes alone.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    rows: tuple[int, int]  # (t, b)
    columns: tuple[int, int]  # (l, r)
    shape: tuple[int, ...]  # of y
    dtype: str


@accelerated()
def forward(x: Array, *, padding: int | Sequence[int]) -> tuple[Array, Cache]:
    """y by (1); padding is an int for all four sides, (height, width) or (top, bottom, left, right)."""
    checks.image("zero_pad2d", x)
    rows, columns = margins(padding)
    y = array_module(x).pad(x, ((0, 0), rows, columns, (0, 0)))  # (1)
    return y, Cache(rows, columns, y.shape, x.dtype.name)


@accelerated()
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    (top, bottom), (left, right), shape, dtype = cache
    checks.upstream("zero_pad2d", dy, shape)
    return (dy[:, top : shape[1] - bottom, left : shape[2] - right].astype(dtype, copy=False),)  # (2)


def margins(padding: int | Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) of an int, (height, width) or (top, bottom, left, right)."""
    values: Sequence[Any] = padding if isinstance(padding, (tuple, list)) else (padding, padding)
    ints = all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values)
    if len(values) not in (2, 4) or not ints:
        raise TypeError(
            f"zero_pad2d: padding is {padding!r}, wanted an int, (height, width) or (top, bottom, left, right)"
        )
    if min(values) < 0:
        raise ValueError(f"zero_pad2d: padding is {padding!r}, wanted no less than 0 on any side")
    top, bottom, left, right = map(int, values if len(values) == 4 else np.repeat(values, 2))
    return (top, bottom), (left, right)
