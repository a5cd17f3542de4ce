"""Softmax and cross-entropy in one op, because the joined gradient is simple and stable.

Forward.  z is (N, K) logits.  The target of row n is a distribution t[n,:] over the K classes: given as such (soft), or
as a class index k, which stands for t = 1 at k and 0 elsewhere (hard).  Label smoothing ε (Szegedy et al. 2016,
arXiv:1512.00567, section 7) mixes it with the uniform distribution, and class weights w count some classes more:

    ŷᵢ = softmax(z)ᵢ,    ln ŷᵢ = zᵢ − M − ln Σⱼ exp(zⱼ − M),   M = maxⱼ zⱼ                (1)
    qᵢ = wᵢ ((1 − ε) tᵢ + ε/K)                                                           (2)
    Lₙ = −Σᵢ qᵢ ln ŷᵢ                                                                    (3)

(1) takes the logarithm without taking softmax first, so logits of ±10⁴ lose nothing.  With the reduction,

    L = Σₙ Lₙ / D,   D = 1 for "sum";  for "mean", N with soft targets and Σₙ w[kₙ] with hard ones         (4)

and for "none" the result is the vector of Lₙ.  This is what PyTorch's CrossEntropyLoss computes.

Backward, for one row.  Lₙ depends on zⱼ through ln ŷᵢ of *every* class i, so the sum over i comes first.  By (1),
∂ln ŷᵢ/∂zⱼ = δᵢⱼ − ŷⱼ, with δ the Kronecker delta, hence by (3)

    ∂Lₙ/∂zⱼ = −Σᵢ qᵢ (δᵢⱼ − ŷⱼ) = ŷⱼ Σᵢ qᵢ − qⱼ                                          (5)

Without weights Σᵢ qᵢ = Σᵢ tᵢ = 1 and q = t (ε = 0): for hard and for soft targets alike,

    ∂Lₙ/∂z = ŷ − t                                                                       (6)

By (4) the whole gradient is (5) times dL/D, or row by row times dLₙ for "none":

    dz[n,j] = dLₙ/D · (ŷ[n,j] Σᵢ q[n,i] − q[n,j])                                         (7)

A slip of the reports: a derivation index by index that takes L = −t_k ln ŷ_k for the one class k = j alone gives
tⱼ (ŷⱼ − 1) and not ŷⱼ − tⱼ; the two agree only at the true class of a hard target.  It is the sum in (5), over the
classes i ≠ j, that supplies the gradient of every other logit.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks, log_softmax

REDUCTIONS = ("mean", "sum", "none")


class Cache(NamedTuple):
    log_p: Array
    q: Array
    divisor: Array | float  # D of (4)


@accelerated("numba")
def forward(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[Array, Cache]:
    """The loss, 0-d or (N,), of logits (N, K) and target (N,) integers in 0..K-1 or (N, K) probabilities.

    weight is (K,).  ValueError for shapes that do not fit, classes outside 0..K-1, or a mean over 0 rows.
    """
    _check(logits, target, weight, label_smoothing, reduction)
    label_smoothing = float(label_smoothing)  # a NumPy float64 would make float32 arrays float64
    xp, (N, K) = array_module(logits), logits.shape
    hard = target.ndim == 1
    t = (target[:, None] == xp.arange(K)).astype(logits.dtype) if hard else target.astype(logits.dtype, copy=False)
    w = xp.ones(K, logits.dtype) if weight is None else weight.astype(logits.dtype, copy=False)
    log_p, _ = log_softmax.forward(logits)  # (1)
    q = w * ((1 - label_smoothing) * t + label_smoothing / K)  # (2)
    losses = -(q * log_p).sum(-1)  # (3)
    divisor = 1.0
    if reduction == "mean":
        divisor = (t @ w).sum(dtype="float64").astype(logits.dtype) if hard else float(N)  # (4)
    if reduction != "none":
        losses = losses.sum(dtype="float64").astype(logits.dtype) / divisor  # (4)
    return losses, Cache(log_p, q, divisor)


@accelerated()
def backward(dloss: Array | float, cache: Cache) -> tuple[Array]:
    """(dlogits,) from dloss = ∂L/∂loss: a number, or (N,) after reduction "none"."""
    log_p, q, divisor = cache
    xp = array_module(log_p)
    dloss = xp.asarray(dloss, log_p.dtype)
    if dloss.shape not in ((), log_p.shape[:1]):
        raise ValueError(f"cross_entropy.backward: dloss has shape {dloss.shape}, wanted () or {log_p.shape[:1]}")
    dlogits = xp.exp(log_p) * q.sum(-1, keepdims=True) - q  # (5)
    return (dlogits * (dloss / divisor).reshape(-1, 1),)  # (7)


def _check(logits: Array, target: Array, weight: Array | None, label_smoothing: float, reduction: str) -> None:
    checks.floating("cross_entropy", logits=logits, weight=weight)
    if logits.ndim != 2 or logits.shape[1] < 1:
        raise ValueError(f"cross_entropy: logits have shape {logits.shape}, wanted (N, K)")
    N, K = logits.shape
    if reduction not in REDUCTIONS:
        raise ValueError(f"cross_entropy: reduction {reduction!r} is none of {', '.join(REDUCTIONS)}")
    if N == 0 and reduction == "mean":
        raise ValueError("cross_entropy: the mean over 0 rows is not defined; use reduction='sum'")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, wanted 0..1")
    if weight is not None and weight.shape != (K,):
        raise ValueError(f"cross_entropy: weight has shape {weight.shape}, wanted ({K},), one for each class")
    if target.dtype.kind in "iu":
        if target.shape != (N,):
            raise ValueError(f"cross_entropy: integer target has shape {target.shape}, wanted ({N},)")
        if N and ((target < 0) | (target >= K)).any():
            raise ValueError(f"cross_entropy: target has classes {target.min()}..{target.max()}, wanted 0..{K - 1}")
    else:
        checks.floating("cross_entropy", target=target)
        if target.shape != (N, K):
            raise ValueError(f"cross_entropy: target has shape {target.shape}, wanted ({N},) integers or ({N}, {K})")
