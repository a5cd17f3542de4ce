"""Group normalisation (Wu & He 2018, arXiv:1803.08494, section 3).

Forward.  x has shape (N, ..., C), and the C channels fall into G groups of C/G neighbours.  A set holds what one sample
has in one group, at all positions; let i = 1..m run over it, m = positions · C/G, and c(i) be i's channel.  Per set,

    μ   = 1/m Σᵢ xᵢ                                                                      (1)
    σ²  = 1/m Σᵢ (xᵢ − μ)²                                                               (2)
    r   = (σ² + ε)^(−1/2)                                                                (3)
    x̂ᵢ  = (xᵢ − μ) r                                                                     (4)
    yᵢ  = γ[c(i)] x̂ᵢ + β[c(i)]                                                           (5)

G = 1 normalises each sample as a whole, G = C each channel of each sample (instance normalisation).

Backward.  A channel's γ and β meet it in every sample and position, so by (5) and given dyᵢ = ∂L/∂yᵢ

    dγ[c] = Σᵢ dyᵢ x̂ᵢ over all samples and positions, c(i) = c                           (6)
    dβ[c] = Σᵢ dyᵢ over the same                                                         (7)
    gᵢ    = ∂L/∂x̂ᵢ = γ[c(i)] dyᵢ                                                         (8)

Sets do not meet.  Within one, x̂ⱼ depends on xᵢ directly, through μ, where ∂μ/∂xᵢ = 1/m, and through r.  By (2), since
the deviations Σⱼ (xⱼ − μ) sum to 0, ∂σ²/∂xᵢ = 2/m (xᵢ − μ), so by (3)

    ∂r/∂xᵢ = −½ r³ · 2/m (xᵢ − μ) = −r² x̂ᵢ/m                                             (9)

and with δ the Kronecker delta, by (4)

    ∂x̂ⱼ/∂xᵢ = r (δᵢⱼ − 1/m) + (xⱼ − μ) ∂r/∂xᵢ = r (δᵢⱼ − 1/m − x̂ⱼ x̂ᵢ/m)                  (10)

L depends on xᵢ through every x̂ⱼ of its set:

    dxᵢ = Σⱼ gⱼ ∂x̂ⱼ/∂xᵢ = r (gᵢ − 1/m Σⱼ gⱼ − x̂ᵢ · 1/m Σⱼ gⱼ x̂ⱼ)                         (11)

γ varies within a set, so it stays inside the sums, which are not dβ and dγ.  For C/G = 1 it does not, and (11) is (12)
of `batch_norm` with one sample as the batch.

Memory.  The cache holds x, which exists already, and two numbers for each set; x̂ is computed again in backward.
"""

import math
from typing import NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks

SET = (1, 3)  # the axes of one set in (N, positions, G, C/G)


class Cache(NamedTuple):
    x: Array
    gamma: Array
    mean: Array  # (N, 1, G, 1)
    var: Array  # (N, 1, G, 1)
    eps: float


@accelerated("numba")
def forward(x: Array, gamma: Array, beta: Array, *, groups: int, eps: float = 1e-5) -> tuple[Array, Cache]:
    """y by (1)-(5) from x (N, ..., C), gamma (C,) and beta (C,); groups is G.

    ValueError where gamma or beta do not fit, where groups does not divide C, or where a set is empty.
    """
    _check(x, gamma, beta, groups)
    eps = float(eps)  # a NumPy float64 would make float32 arrays float64
    sets = _sets(x, groups)
    mean = sets.mean(SET, dtype="float64", keepdims=True).astype(x.dtype)  # (1)
    var = ((sets - mean) ** 2).mean(SET, dtype="float64", keepdims=True).astype(x.dtype)  # (2)
    x_hat = (sets - mean) * (var + eps) ** -0.5  # (3) (4)
    return gamma * x_hat.reshape(x.shape) + beta, Cache(x, gamma, mean, var, eps)  # (5)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) from dy = ∂L/∂y."""
    x, gamma, mean, var, eps = cache
    checks.upstream("group_norm", dy, x.shape)
    groups, axes = mean.shape[2], tuple(range(x.ndim - 1))
    inv_std = (var + eps) ** -0.5  # (3)
    x_hat = (_sets(x, groups) - mean) * inv_std  # (4)
    dgamma = (dy * x_hat.reshape(x.shape)).sum(axes, dtype="float64").astype(gamma.dtype)  # (6)
    dbeta = dy.sum(axes, dtype="float64").astype(gamma.dtype)  # (7)
    g = _sets(gamma * dy, groups)  # (8)
    mean_g = g.mean(SET, dtype="float64", keepdims=True).astype(x.dtype)
    mean_gx = (g * x_hat).mean(SET, dtype="float64", keepdims=True).astype(x.dtype)
    dx = inv_std * (g - mean_g - x_hat * mean_gx)  # (11)
    return dx.reshape(x.shape).astype(x.dtype, copy=False), dgamma, dbeta


def _sets(x: Array, groups: int) -> Array:
    """(N, ..., C) -> (N, positions, G, C/G)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), groups, x.shape[-1] // groups)


def _check(x: Array, gamma: Array, beta: Array, groups: int) -> None:
    checks.per_channel("group_norm", x, gamma=gamma, beta=beta)
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"group_norm: groups={groups} must divide the {x.shape[-1]} channels of x {x.shape}")
    if 0 in x.shape[1:]:
        raise ValueError(f"group_norm: x {x.shape} has no values in a group, wanted at least 1 to take a mean of")
