"""Arrays side by side along one axis, as the dense blocks of Huang et al. 2017 (arXiv:1608.06993) have their channels.

Forward.  The arrays x₁ .. x_K agree on every axis but one, along which x_k has n_k entries.  With i an index on that
axis (others left out), x_k starts in y at

    o_k = n₁ + .. + n_(k−1)                                                              (1)
    y[o_k + i] = x_k[i],   0 <= i < n_k                                                  (2)

Backward.  The ranges o_k .. o_k + n_k − 1 do not overlap, so x_k[i] enters L through y[o_k + i] alone, as it is:

    dx_k[i] = dy[o_k + i]                                                                (3)

The gradients are views of dy.
"""

from itertools import accumulate
from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    axis: int
    shape: tuple[int, ...]  # of y
    sizes: tuple[int, ...]  # n_k
    dtypes: tuple[str, ...]


@accelerated()
def forward(*xs: Array, axis: int = -1) -> tuple[Array, Cache]:
    """y by (2); ValueError where there is no array, no such axis, or where shapes differ on another axis."""
    checks.floating("concat", **{f"xs[{k}]": x for k, x in enumerate(xs)})
    shapes = [x.shape for x in xs]
    ndim = len(shapes[0]) if shapes else 0
    if not -ndim <= axis < ndim or len({(*s[: axis % ndim], *s[axis % ndim + 1 :], len(s)) for s in shapes}) != 1:
        raise ValueError(f"concat: shapes {shapes} do not agree on all axes but axis {axis}")
    y = array_module(xs[0]).concatenate(xs, axis)  # (2)
    sizes = tuple(s[axis] for s in shapes)
    return y, Cache(axis % ndim, y.shape, sizes, tuple(x.dtype.name for x in xs))


@accelerated()
def backward(dy: Array, cache: Cache) -> tuple[Array, ...]:
    """One gradient for each array, from dy = ∂L/∂y."""
    axis, shape, sizes, dtypes = cache
    checks.upstream("concat", dy, shape)
    before = (slice(None),) * axis
    ends = accumulate(sizes)  # (1)
    parts = zip(ends, sizes, dtypes, strict=True)
    return tuple(dy[(*before, slice(end - n, end))].astype(dtype, copy=False) for end, n, dtype in parts)  # (3)
