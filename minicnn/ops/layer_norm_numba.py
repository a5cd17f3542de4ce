"""The CPU kernels of `layer_norm`; see normalised_sets.py."""

import math

from minicnn.backend import Array
from minicnn.ops import checks, layer_norm, normalised_sets
from minicnn.ops.layer_norm import Cache


def forward(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> tuple[Array, Cache]:
    """See `layer_norm.forward`."""
    layer_norm._check(x, gamma, beta)
    if normalised_sets.declined(x, gamma, beta):
        return NotImplemented
    eps, one = float(eps), (*x.shape[:-1], 1)
    y, mean, var = normalised_sets.normalise(x, gamma, beta, eps, _sizes(x))  # (1)-(5)
    return y, Cache(x, gamma, mean.reshape(one), var.reshape(one), eps)


def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """See `layer_norm.backward`."""
    checks.upstream("layer_norm", dy, cache.x.shape)
    if normalised_sets.declined(dy, *cache[:4]):
        return NotImplemented
    return normalised_sets.gradients(dy, *cache, _sizes(cache.x))  # (6) (7) (11)


def _sizes(x: Array) -> tuple[int, int, int, int]:
    return math.prod(x.shape[:-1]), 1, 1, x.shape[-1]
