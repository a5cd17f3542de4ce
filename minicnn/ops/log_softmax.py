"""The logarithm of softmax over the last axis, with its true Jacobian.

Forward.  x is (..., K).  For each row, with M = maxⱼ xⱼ,

    yᵢ = ln softmax(x)ᵢ = (xᵢ − M) − ln Σⱼ exp(xⱼ − M)                                    (1)

computed so, and not as a logarithm of softmax, because softmax rounds small probabilities to 0.

Backward.  The derivative of the log-sum-exp is ∂/∂xⱼ ln Σₖ exp(xₖ) = exp(xⱼ)/Σₖ exp(xₖ) = exp(yⱼ), so

    ∂yᵢ/∂xⱼ = δᵢⱼ − exp(yⱼ)                                                              (2)
    dxⱼ = Σᵢ dyᵢ ∂yᵢ/∂xⱼ = dyⱼ − exp(yⱼ) Σᵢ dyᵢ                                           (3)
"""

from typing import NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks
from minicnn.ops.softmax import scores


class Cache(NamedTuple):
    y: Array


@accelerated("numba")
def forward(x: Array) -> tuple[Array, Cache]:
    """y by (1) over the last axis of x."""
    scores("log_softmax", x)
    xp = array_module(x)
    shifted = x - x.max(-1, keepdims=True)
    y = shifted - xp.log(xp.exp(shifted).sum(-1, keepdims=True))  # (1)
    return y, Cache(y)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    (y,) = cache
    checks.upstream("log_softmax", dy, y.shape)
    return (dy - array_module(y).exp(y) * dy.sum(-1, keepdims=True),)  # (3)
