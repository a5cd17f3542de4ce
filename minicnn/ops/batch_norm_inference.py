"""Batch normalisation with stored statistics, as a trained network has it (Ioffe & Szegedy 2015, arXiv:1502.03167,
section 3.1, algorithm 2).

Forward.  x has shape (..., C).  Let i run over all axes but the last; all that follows is per channel.  The mean μ and
the variance σ² are given:

    r  = (σ² + ε)^(−1/2)                                                                 (1)
    x̂ᵢ = (xᵢ − μ) r                                                                      (2)
    yᵢ = γ x̂ᵢ + β                                                                        (3)

Backward.  In `batch_norm` xᵢ enters L on three paths: directly, through σ² and through μ; see (11) there.  Here μ and
σ² do not depend on x, so ∂σ²/∂xᵢ = ∂μ/∂xᵢ = 0 and of the three only the direct path is left.  By (2), ∂x̂ⱼ/∂xᵢ = r for
j = i and 0 otherwise, hence with dyᵢ = ∂L/∂yᵢ and (3)

    dxᵢ = γ r dyᵢ                                                                        (4)
    dγ  = Σᵢ dyᵢ x̂ᵢ                                                                      (5)
    dβ  = Σᵢ dyᵢ                                                                         (6)

A slip of the reports gives (4) for training.  There it is wrong: μ and σ² are those of the batch and move with x.
Here a sample never meets another, so a batch of 1 and a single value a channel are as good as any.  The op is affine in
x: γ r x + (β − γ r μ), which is why it can be folded into the layer before it.
"""

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
def forward(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float = 1e-5) -> tuple[Array, Cache]:
    """y by (1)-(3) from x (..., C) and gamma, beta, mean, var, all (C,); ValueError where they do not fit."""
    checks.per_channel("batch_norm_inference", x, gamma=gamma, beta=beta, mean=mean, var=var)
    eps = float(eps)  # a NumPy float64 would make float32 arrays float64
    x_hat = (x - mean) * (var + eps) ** -0.5  # (1) (2)
    return gamma * x_hat + beta, Cache(x, gamma, mean, var, eps)  # (3)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) from dy = ∂L/∂y; mean and var are statistics, not parameters, and get no gradient."""
    x, gamma, mean, var, eps = cache
    checks.upstream("batch_norm_inference", dy, x.shape)
    axes = tuple(range(x.ndim - 1))
    inv_std = (var + eps) ** -0.5  # (1)
    dx = gamma * inv_std * dy  # (4)
    dgamma = (dy * ((x - mean) * inv_std)).sum(axes, dtype="float64").astype(gamma.dtype)  # (2) (5)
    dbeta = dy.sum(axes, dtype="float64").astype(gamma.dtype)  # (6)
    return dx.astype(x.dtype, copy=False), dgamma, dbeta
