"""The Gaussian error linear unit (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2).

Forward.  Φ is the distribution function of a standard normal number; x passes in proportion to its rank:

    Φ(x) = ½ (1 + erf(x/√2))                                                             (1)
    y = x Φ(x)                                                                           (2)

Backward.  erf(z) = 2/√π ∫₀ᶻ exp(−t²) dt has erf′(z) = 2/√π exp(−z²), so by (1) and the chain rule

    φ(x) = ∂Φ/∂x = ½ · 2/√π exp(−x²/2) · 1/√2 = exp(−x²/2)/√(2π)                         (3)

and by (2) and the product rule

    dx = dy (Φ(x) + x φ(x))                                                              (4)

Approximation.  The paper's second form (PyTorch's "tanh") replaces Φ(x) by ½ (1 + t):

    t = tanh(u),   u = √(2/π) (x + κ x³),   κ = 0.044715                                 (5)
    y = ½ x (1 + t)                                                                      (6)

It is a function of its own with a gradient of its own.  With tanh′ = 1 − tanh², the chain rule gives

    ∂t/∂x = (1 − t²) ∂u/∂x = (1 − t²) √(2/π) (1 + 3 κ x²)                                (7)
    dx = dy (½ (1 + t) + ½ x ∂t/∂x)                                                      (8)
"""

import math
from typing import NamedTuple

from minicnn.backend import Array, array_module, special_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks

KAPPA = 0.044715
ROOT = math.sqrt(2 / math.pi)


class Cache(NamedTuple):
    x: Array
    approximate: bool


@accelerated("numba")
def forward(x: Array, *, approximate: bool = False) -> tuple[Array, Cache]:
    """y by (2), or by (6) where approximate; of any shape."""
    _check(x, approximate)
    if approximate:
        return 0.5 * x * (1 + _t(x)), Cache(x, approximate)  # (6)
    return x * _phi(x), Cache(x, approximate)  # (2)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    x, approximate = cache
    checks.upstream("gelu", dy, x.shape)
    if approximate:
        t = _t(x)
        dt = (1 - t * t) * (ROOT * (1 + 3 * KAPPA * x * x))  # (7)
        dx = dy * (0.5 * (1 + t) + 0.5 * x * dt)  # (8)
    else:
        density = array_module(x).exp(-0.5 * x * x) / math.sqrt(2 * math.pi)  # (3)
        dx = dy * (_phi(x) + x * density)  # (4)
    return (dx.astype(x.dtype, copy=False),)


def _check(x: Array, approximate: bool) -> None:
    checks.floating("gelu", x=x)
    if not isinstance(approximate, bool):
        raise TypeError(f'gelu: approximate is {approximate!r}, wanted a bool (True is what PyTorch calls "tanh")')


def _phi(x: Array) -> Array:
    """Φ of (1)."""
    return 0.5 * (1 + special_module(x).erf(x * math.sqrt(0.5)))  # (1)


def _t(x: Array) -> Array:
    """t of (5)."""
    return array_module(x).tanh(ROOT * (x + KAPPA * x * x * x))  # (5)
