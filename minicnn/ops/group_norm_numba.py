"""The CPU kernels of `group_norm`; see normalised_sets.py."""

import math

from minicnn.backend import Array
from minicnn.ops import checks, group_norm, normalised_sets
from minicnn.ops.group_norm import Cache


def forward(x: Array, gamma: Array, beta: Array, *, groups: int, eps: float = 1e-5) -> tuple[Array, Cache]:
    """See `group_norm.forward`."""
    group_norm._check(x, gamma, beta, groups)
    if normalised_sets.declined(x, gamma, beta):
        return NotImplemented
    eps, one = float(eps), (x.shape[0], 1, groups, 1)
    y, mean, var = normalised_sets.normalise(x, gamma, beta, eps, _sizes(x, groups))  # (1)-(5)
    return y, Cache(x, gamma, mean.reshape(one), var.reshape(one), eps)


def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """See `group_norm.backward`."""
    checks.upstream("group_norm", dy, cache.x.shape)
    if normalised_sets.declined(dy, *cache[:4]):
        return NotImplemented
    return normalised_sets.gradients(dy, *cache, _sizes(cache.x, cache.mean.shape[2]))  # (6) (7) (11)


def _sizes(x: Array, groups: int) -> tuple[int, int, int, int]:
    return x.shape[0], math.prod(x.shape[1:-1]), groups, x.shape[-1] // groups
