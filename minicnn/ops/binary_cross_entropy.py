"""The cross-entropy of independent yes-or-no questions, on logits (Bishop 2006, "Pattern recognition and machine
learning", equation 4.90).

Forward.  z are logits and t the targets, of one shape of n elements, t in 0..1; σ(z) = 1/(1 + exp(−z)) is the
probability of yes, and 1 − σ(z) = σ(−z) that of no.

    ℓᵢ = −tᵢ ln σ(zᵢ) − (1 − tᵢ) ln σ(−zᵢ)                                               (1)

With ln(1 + exp(−z)) = ln(1 + exp(z)) − z this becomes

    ℓᵢ = tᵢ ln(1 + exp(−zᵢ)) + (1 − tᵢ) ln(1 + exp(zᵢ)) = ln(1 + exp(zᵢ)) − tᵢ zᵢ        (2)

and by (2) of `softplus`, with no exponential above 1 and no logarithm of 0,

    ℓᵢ = max(zᵢ, 0) − tᵢ zᵢ + ln(1 + exp(−|zᵢ|))                                         (3)
    L  = Σᵢ ℓᵢ/D,   D = n for "mean", 1 for "sum"                                        (4)

and for "none" the result is the array of the ℓᵢ.

Backward.  By (4), ∂L/∂ℓᵢ = dL/D, which for "none" is given as dℓᵢ, and by (2)
∂ℓᵢ/∂zᵢ = exp(zᵢ)/(1 + exp(zᵢ)) − tᵢ = σ(zᵢ) − tᵢ:

    dℓᵢ = dL/D                                                                           (5)
    dzᵢ = dℓᵢ (σ(zᵢ) − tᵢ)                                                               (6)

The factor σ (1 − σ) of the sigmoid has cancelled: a wrong answer given with confidence still gets its full gradient.
The target is data and gets no gradient.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import reductions
from minicnn.ops.sigmoid import logistic


class Cache(NamedTuple):
    logits: Array
    target: Array
    reduction: str


@accelerated()
def forward(logits: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, Cache]:
    """The loss by (4), 0-d, or by (3), of the shape of logits, for "none"; ValueError for a mean over 0 elements."""
    reductions.check("binary_cross_entropy", "logits", logits, target, reduction)
    xp = array_module(logits)
    losses = xp.maximum(logits, 0) - target * logits + xp.log1p(xp.exp(-abs(logits)))  # (3)
    return reductions.reduce(losses, reduction, logits.dtype.name), Cache(logits, target, reduction)  # (4)


@accelerated()
def backward(dloss: Array | float, cache: Cache) -> tuple[Array]:
    """(dlogits,) from dloss = ∂L/∂loss: a number, or an array like logits after reduction "none"."""
    logits, target, reduction = cache
    dlosses = reductions.upstream("binary_cross_entropy", dloss, logits, reduction)  # (5)
    return ((dlosses * (logistic(logits) - target)).astype(logits.dtype, copy=False),)  # (6)
