"""How far the float32 fast path is from the float64 definition, op by op, on the very arrays a model gives it.

float32 numbers are float64 numbers, so both sides see the same input and the same caches; what differs is rounding in
the op itself.  A backward takes the masks that the float32 forward left in its cache, so a sign or a maximum that
rounding turns over is not counted as an error: it is another subgradient.  Only where batch norm stands before a
rectifier does an op find its mask anew; `certain` sees to it that it cannot be another one.
"""

import inspect
from typing import Any

import numpy as np

from minicnn.bench.calls import Call
from minicnn.dispatch import Op

FORWARD_BOUND, GRADIENT_BOUND = 5e-6, 1e-5
BETA = 3  # where epilogue.forward has it
OF_A_DENSE_LAYER = ("gamma1", "beta1", "w1", "gamma2", "beta2", "w2")  # the order of its parameters


def of_call(call: Call, through: Call | None = None) -> dict[str, float]:
    """{"y": error} of a forward, {"dx": error, "dw": ...} of a backward through a forward: see `relative`.

    The backward's dy is random.  A network's own may be one for which a gradient is zero in exact arithmetic, as that
    of a shift before a batch norm is; nothing could be said of its relative error.
    """
    forward = through or call
    args = certain(forward)
    result = forward.result if args is forward.args else forward.op(*args, **forward.kwargs)
    if through is None:
        want = call.op.definition(*_double(args), **_double(call.kwargs))
        return {"y": relative(result[0], want[0])}
    dy = call.args[0]
    if isinstance(dy, np.ndarray):
        dy = np.random.default_rng(0).standard_normal(dy.shape, dy.dtype)
    got = call.op(dy, result[1], **call.kwargs)
    want = call.op.definition(_double(dy), _double(result[1]), **_double(call.kwargs))
    names = _names(forward.op, len(got))
    return {name: relative(g, w) for name, g, w in zip(names, got, want, strict=True) if g is not None}


def certain(forward: Call) -> tuple[Any, ...]:
    """The arguments of a forward, with shifts of zero where it rectifies what it normalises: every sign is certain.

    γ r (x - μ) then is above zero where x is above μ, and the sign of a difference of two numbers is never rounded.
    """
    name, args = forward.op.name.partition(".")[0], list(forward.args)
    if name == "epilogue" and forward.kwargs["spec"].norm == "before":
        shifts = [BETA]
    elif name == "dense_block":
        names = OF_A_DENSE_LAYER * (len(args) // len(OF_A_DENSE_LAYER))
        shifts = [1 + k for k, parameter in enumerate(names) if parameter.startswith("beta")]
    else:
        return forward.args
    for k in shifts:
        args[k] = np.zeros_like(args[k])
    return tuple(args)


def relative(got: Any, want: Any) -> float:
    """max |got - want| / max |want|; 0 for empty arrays, and for two that are zero throughout."""
    error = np.abs(np.asarray(got, "float64") - want).max(initial=0.0)
    return float(error / scale) if (scale := np.abs(want).max(initial=0.0)) else float(error)


def within(name: str, error: float) -> bool:
    """Whether the error of y, or of a gradient, is within its bound; NaN is not."""
    return error <= (FORWARD_BOUND if name == "y" else GRADIENT_BOUND)


def _double(value: Any) -> Any:
    """value with float64 for float32, in arrays and in the names of dtypes, also in Caches."""
    if isinstance(value, np.ndarray | np.generic):
        return value.astype("float64") if value.dtype == np.float32 else value
    if isinstance(value, dict):
        return {k: _double(v) for k, v in value.items()}
    if isinstance(value, tuple):
        parts = map(_double, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return "float64" if value == "float32" else value


def _names(forward: Op, count: int) -> list[str]:
    """The gradients' names, "d" and the argument's; of a dense block's parameters, the layer's number and name."""
    names: list[str] = []
    for p in inspect.signature(forward.definition).parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            of_layer = OF_A_DENSE_LAYER if forward.name == "dense_block.forward" else (p.name.removesuffix("s"),)
            rest = range(count - len(names))
            names += [f"{of_layer[k % len(of_layer)]} {k // len(of_layer)}" for k in rest]
        else:
            names.append(p.name)
    return [f"d{name}" for name in names[:count]]
