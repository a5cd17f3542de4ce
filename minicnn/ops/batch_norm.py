"""Batch normalisation over every axis but the last (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3).

Forward.  x has shape (..., C).  Let i = 1..m run over all axes but the last; all that follows is per channel.

    μ   = 1/m Σᵢ xᵢ                                                                      (1)
    σ²  = 1/m Σᵢ (xᵢ − μ)²                                                               (2)
    r   = (σ² + ε)^(−1/2)                                                                (3)
    x̂ᵢ  = (xᵢ − μ) r                                                                     (4)
    yᵢ  = γ x̂ᵢ + β                                                                       (5)

Backward.  L is any function of the yᵢ, given by dyᵢ = ∂L/∂yᵢ.  Equation (5) gives at once

    ∂L/∂x̂ᵢ = γ dyᵢ                                                                       (6)
    ∂L/∂γ  = Σᵢ dyᵢ x̂ᵢ                                                                   (7)
    ∂L/∂β  = Σᵢ dyᵢ                                                                      (8)

σ² enters L through r in every x̂ᵢ.  By (3), ∂r/∂σ² = −½ (σ² + ε)^(−3/2) = −½ r³, so by (4)

    ∂L/∂σ² = Σᵢ ∂L/∂x̂ᵢ (xᵢ − μ) (−½ r³)                                                  (9)

μ enters L through every x̂ᵢ directly, where ∂x̂ᵢ/∂μ = −r, and through σ², where ∂σ²/∂μ = −2/m Σᵢ (xᵢ − μ):

    ∂L/∂μ  = −r Σᵢ ∂L/∂x̂ᵢ + ∂L/∂σ² · (−2/m) Σᵢ (xᵢ − μ) = −r Σᵢ ∂L/∂x̂ᵢ                   (10)

for the deviations from a mean sum to 0.  Last, xᵢ enters directly, through σ² and through μ:

    ∂L/∂xᵢ = ∂L/∂x̂ᵢ r + ∂L/∂σ² · 2/m (xᵢ − μ) + ∂L/∂μ · 1/m                              (11)

These are the six gradients.  For the closed form put (9) and (10) into (11), write (xᵢ − μ) r as x̂ᵢ, and let (6), (7)
and (8) name the sums Σ ∂L/∂x̂ⱼ = γ ∂L/∂β and Σ ∂L/∂x̂ⱼ x̂ⱼ = γ ∂L/∂γ:

    dxᵢ = γ r (dyᵢ − (dβ + x̂ᵢ dγ)/m)                                                     (12)

which a kernel evaluates as per-channel constants and one pass over memory,

    dxᵢ = A (dyᵢ − dβ/m) + B (xᵢ − μ),   A = γ r,  B = −A r dγ/m                         (13)

Reading (12): γ r dy, less its components along the vectors 1 and x̂.  Moving x along either does not move x̂, so no
gradient may point there: Σᵢ dxᵢ = 0, and Σᵢ dxᵢ x̂ᵢ = 0 as ε → 0.  So this op must never be checked with dy = 1 or
dy = y: the true dx is 0 there, and a backward that returns zeros would pass.

Slips of the reports: a dx with the first term of (11) alone, the paths through μ and σ² dropped; the exponent 3/2
of (9) with its factor −½ lost; L fixed to a squared error, where (6)-(12) hold for every L.

Memory.  The cache holds x, which exists already, and three vectors; x̂ is computed again in backward.
"""

import math
from typing import NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    x: Array
    gamma: Array
    mean: Array
    var: Array
    eps: float


@accelerated("numba")
def forward(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> tuple[Array, Cache]:
    """y by (1)-(5) from x (..., C), gamma (C,), beta (C,); cache.mean and cache.var (biased) are those of the batch.

    ValueError where gamma or beta do not fit, or where a channel has fewer than 2 values.
    """
    checks.per_channel("batch_norm", x, gamma=gamma, beta=beta)
    eps = float(eps)  # a NumPy float64 would make float32 arrays float64
    axes, m = tuple(range(x.ndim - 1)), math.prod(x.shape[:-1])
    if m < 2:
        raise ValueError(f"batch_norm: x {x.shape} has {m} value(s) a channel, wanted at least 2 to take a variance of")
    mean = x.mean(axes, dtype="float64").astype(x.dtype)  # (1)
    var = ((x - mean) ** 2).mean(axes, dtype="float64").astype(x.dtype)  # (2)
    x_hat = (x - mean) * (var + eps) ** -0.5  # (3) (4)
    return gamma * x_hat + beta, Cache(x, gamma, mean, var, eps)  # (5)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) from dy = ∂L/∂y."""
    x, gamma, mean, var, eps = cache
    checks.upstream("batch_norm", dy, x.shape)
    axes, m = tuple(range(x.ndim - 1)), math.prod(x.shape[:-1])
    inv_std = (var + eps) ** -0.5  # (3)
    x_hat = (x - mean) * inv_std  # (4)
    dgamma = (dy * x_hat).sum(axes, dtype="float64").astype(gamma.dtype)  # (7)
    dbeta = dy.sum(axes, dtype="float64").astype(gamma.dtype)  # (8)
    dx = gamma * inv_std * (dy - (dbeta + x_hat * dgamma) / m)  # (12)
    return dx.astype(x.dtype, copy=False), dgamma, dbeta
