"""Softmax over the last axis, with its true Jacobian.

Forward.  x is (..., K).  For each row,

    yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ) = exp(xᵢ − M) / Σⱼ exp(xⱼ − M),   M = maxⱼ xⱼ               (1)

the second form because no exponent is then above 0: nothing overflows, and the sum is at least 1.

Backward.  By the quotient rule, with δ the Kronecker delta and S the sum in (1),

    ∂yᵢ/∂xⱼ = δᵢⱼ exp(xᵢ)/S − exp(xᵢ) exp(xⱼ)/S² = yᵢ (δᵢⱼ − yⱼ)                          (2)
    dxⱼ = Σᵢ dyᵢ ∂yᵢ/∂xⱼ = yⱼ (dyⱼ − Σᵢ dyᵢ yᵢ)                                           (3)

(3) sums to 0 over j: adding a constant to a row does not move y.  For dy = 1 it is 0 throughout: dy = 1 tests nothing.
This is the gradient of softmax alone.  Joined with a cross-entropy it becomes ŷ − y; see `cross_entropy`, which takes
logits and must not be given the y of this op.
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    y: Array


@accelerated("numba")
def forward(x: Array) -> tuple[Array, Cache]:
    """y by (1) over the last axis of x; its rows are positive and sum to 1."""
    scores("softmax", x)
    xp = array_module(x)
    e = xp.exp(x - x.max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True)  # (1)
    return y, Cache(y)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    (y,) = cache
    checks.upstream("softmax", dy, y.shape)
    return (y * (dy - (dy * y).sum(-1, keepdims=True)),)  # (3)


def scores(op: str, x: Array) -> None:
    """Floating-point scores (..., K) of K >= 1 classes."""
    checks.floating(op, x=x)
    if x.ndim < 1 or x.shape[-1] < 1:
        raise ValueError(f"{op}: x has shape {x.shape}, wanted (..., K) with K >= 1 scores in the last axis")
