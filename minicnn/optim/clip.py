"""Limiting the size of the gradient."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.optim.base import ParameterLike, checked_number, parameter_list


def clip_grad_norm_(
    params: ParameterLike | Iterable[ParameterLike],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Any:
    """Scale the gradients together so that their common norm is at most max_norm; return the norm they had.

    With p = norm_type and g running over every element of every gradient, as torch.nn.utils.clip_grad_norm_:

        n = (Σ |g|ᵖ)^(1/p), or max |g| for p = ∞                    (1)
        g ← g · min(1, max_norm / (n + 10⁻⁶))                       (2)

    Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, Algorithm 1.  `p.grad` is replaced, never written into.  Parameters
    without a gradient, and those that the optimiser skips (requires_grad False), do not count.  The norm is a float64
    scalar where the gradients live, a 0-d array on a GPU, so that nothing waits for the device; 0.0 without gradients.

    Raises ValueError for a max_norm below 0, a norm_type not above 0 and, with error_if_nonfinite (which does wait), a
    norm that is infinite or NaN; TypeError for what is not a Parameter.
    """
    limit = checked_number("clip_grad_norm_", "max_norm", max_norm, "wanted a number, 0 or more", lambda x: x >= 0)
    order = checked_number("clip_grad_norm_", "norm_type", norm_type, "wanted a number above 0", lambda x: x > 0)
    given: Iterable[Any] = params if isinstance(params, Iterable) else [params]
    chosen = [p for p in parameter_list(given, "clip_grad_norm_") if p.grad is not None and p.requires_grad]
    if not chosen:
        return 0.0
    grads: list[Any] = [p.grad for p in chosen]
    norm = _norm(grads, order)
    if error_if_nonfinite and not math.isfinite(float(norm)):
        raise ValueError(f"clip_grad_norm_: the gradients' norm is {float(norm)}; wanted a finite one")
    scale = array_module(grads[0]).minimum(limit / (norm + 1e-6), 1.0)
    for p, grad in zip(chosen, grads, strict=True):
        p.grad = grad * scale.astype(grad.dtype)  # (2)
    return norm


def _norm(grads: list[Array], order: float) -> Any:
    xp = array_module(grads[0])
    if math.isinf(order):
        return xp.stack([xp.max(xp.abs(g)).astype(np.float64) for g in grads]).max()  # (1)
    powers = [xp.sum(xp.abs(g.astype(np.float64)) ** order) for g in grads]
    return xp.stack(powers).sum() ** (1 / order)  # (1)
