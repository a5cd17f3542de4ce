"""What the losses that compare x with a target element by element share: their checks and their reduction.

With ℓᵢ the loss of element i of n, L = Σᵢ ℓᵢ/D with D = n for "mean" and D = 1 for "sum"; "none" leaves the ℓᵢ as they
are.  So ∂L/∂ℓᵢ = 1/D.
"""

from minicnn.backend import Array, array_module
from minicnn.ops import checks

REDUCTIONS = ("mean", "sum", "none")


def check(op: str, name: str, x: Array, target: Array, reduction: str) -> None:
    """x (called `name`) and target are floating-point arrays of one shape; a mean has something to be taken of."""
    checks.floating(op, **{name: x, "target": target})
    if x.shape != target.shape:
        raise ValueError(f"{op}: {name} has shape {x.shape} but target has shape {target.shape}, wanted one shape")
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: reduction {reduction!r} is none of {', '.join(REDUCTIONS)}")
    if reduction == "mean" and x.size == 0:
        raise ValueError(f"{op}: the mean over 0 elements, {name} {x.shape}, is not defined; use reduction='sum'")


def reduce(losses: Array, reduction: str, dtype: str) -> Array:
    """L of that dtype, a 0-d array accumulated in float64, or the losses themselves for "none"."""
    total = losses if reduction == "none" else losses.sum(dtype="float64") / _divisor(losses, reduction)
    return array_module(losses).asarray(total, dtype)


def upstream(op: str, dloss: Array | float, x: Array, reduction: str) -> Array:
    """dℓ from dloss = ∂L/∂loss, of a shape that broadcasts against x."""
    dloss = array_module(x).asarray(dloss, x.dtype)
    wanted = ((), x.shape) if reduction == "none" else ((),)
    if dloss.shape not in wanted:
        raise ValueError(f"{op}.backward: dloss has shape {dloss.shape}, wanted {' or '.join(map(str, wanted))}")
    return dloss / _divisor(x, reduction)


def _divisor(x: Array, reduction: str) -> int:
    return x.size if reduction == "mean" else 1
