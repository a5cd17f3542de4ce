"""Layer normalisation over the last axis (Ba, Kiros & Hinton 2016, arXiv:1607.06450, section 3).

Forward.  x has shape (..., C).  Let n run over the rows, all axes but the last; per row, over c = 1..C,

    μ   = 1/C Σ_c x_c                                                                    (1)
    σ²  = 1/C Σ_c (x_c − μ)²                                                             (2)
    r   = (σ² + ε)^(−1/2)                                                                (3)
    x̂_c = (x_c − μ) r                                                                    (4)
    y_c = γ_c x̂_c + β_c                                                                  (5)

Backward.  γ and β are shared by the rows, so by (5) and given dy = ∂L/∂y

    dγ_c = Σₙ dy[n,c] x̂[n,c]                                                             (6)
    dβ_c = Σₙ dy[n,c]                                                                    (7)
    g_c  = ∂L/∂x̂_c = γ_c dy_c                                                            (8)

Within a row, x̂_k depends on x_c directly, through μ, where ∂μ/∂x_c = 1/C, and through r.  By (2), since the deviations
Σ_k (x_k − μ) sum to 0, ∂σ²/∂x_c = 2/C (x_c − μ), so by (3)

    ∂r/∂x_c = −½ r³ · 2/C (x_c − μ) = −r² x̂_c/C                                          (9)

and with δ the Kronecker delta, by (4)

    ∂x̂_k/∂x_c = r (δ_kc − 1/C) + (x_k − μ) ∂r/∂x_c = r (δ_kc − 1/C − x̂_k x̂_c/C)          (10)

L depends on x_c through every x̂_k of its row:

    dx_c = Σ_k g_k ∂x̂_k/∂x_c = r (g_c − 1/C Σ_k g_k − x̂_c · 1/C Σ_k g_k x̂_k)             (11)

Unlike in batch_norm, γ varies along the axis of the sums: it stays inside them, and they are not dβ and dγ, which sum
over the rows.  Σ_c dx_c = 0 in every row, and dx vanishes for g = 1: never check this op with γ = 1 and dy = 1.

Memory.  The cache holds x, which exists already, and two numbers for each row; x̂ is computed again in backward.
"""

from typing import NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    x: Array
    gamma: Array
    mean: Array  # (..., 1)
    var: Array  # (..., 1)
    eps: float


@accelerated("numba")
def forward(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> tuple[Array, Cache]:
    """y by (1)-(5) from x (..., C), gamma (C,) and beta (C,); ValueError where these do not fit, or C is 0."""
    _check(x, gamma, beta)
    eps = float(eps)  # a NumPy float64 would make float32 arrays float64
    mean = x.mean(-1, dtype="float64", keepdims=True).astype(x.dtype)  # (1)
    var = ((x - mean) ** 2).mean(-1, dtype="float64", keepdims=True).astype(x.dtype)  # (2)
    x_hat = (x - mean) * (var + eps) ** -0.5  # (3) (4)
    return gamma * x_hat + beta, Cache(x, gamma, mean, var, eps)  # (5)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) from dy = ∂L/∂y."""
    x, gamma, mean, var, eps = cache
    checks.upstream("layer_norm", dy, x.shape)
    rows = tuple(range(x.ndim - 1))
    inv_std = (var + eps) ** -0.5  # (3)
    x_hat = (x - mean) * inv_std  # (4)
    dgamma = (dy * x_hat).sum(rows, dtype="float64").astype(gamma.dtype)  # (6)
    dbeta = dy.sum(rows, dtype="float64").astype(gamma.dtype)  # (7)
    g = gamma * dy  # (8)
    mean_g = g.mean(-1, dtype="float64", keepdims=True).astype(x.dtype)
    mean_gx = (g * x_hat).mean(-1, dtype="float64", keepdims=True).astype(x.dtype)
    dx = inv_std * (g - mean_g - x_hat * mean_gx)  # (11)
    return dx.astype(x.dtype, copy=False), dgamma, dbeta


def _check(x: Array, gamma: Array, beta: Array) -> None:
    checks.per_channel("layer_norm", x, gamma=gamma, beta=beta)
    if x.shape[-1] == 0:
        raise ValueError(f"layer_norm: x {x.shape} has no channels, wanted at least 1 to take a mean of")
