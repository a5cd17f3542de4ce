"""How far the float32 fast path is from the float64 definition, op by op, on the very arrays a model gives it.

float32 numbers are float64 numbers, so both sides see the same input and the same caches; what differs is rounding in
the op itself.  A backward takes the masks that the float32 forward left in its cache, so a sign or a maximum that
rounding turns over is not counted as an error: it is another subgradient.  Only where batch norm stands before a
rectifier does an op find its mask anew; `certain` gives it inputs whose normalised values are far from zero.
"""

import inspect
from typing import Any

import numpy as np

from minicnn.bench.calls import Call
from minicnn.dispatch import Op

FORWARD_BOUND, GRADIENT_BOUND = 5e-6, 1e-5
OF_A_DENSE_LAYER = ("gamma1", "beta1", "w1", "gamma2", "beta2", "w2")  # the order of its parameters
# Standard deviations: next to no entry of a batch strays so far, and none so exactly that rounding would turn it over.
# Not more, for a sum of large values times gradients of sum zero loses digits in any float32 arithmetic.
OFFSET = 6.0


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
    """The arguments of a forward, changed where it rectifies what it normalises, so that every sign is certain.

    x becomes ±(1 + something), its normalised values with it; in a dense block the channels that the block itself makes
    are shifted by ±OFFSET before they are rectified.
    """
    name, args = forward.op.name.partition(".")[0], forward.args
    if name == "epilogue" and forward.kwargs["spec"].norm == "before":
        return _two_humps(args[0]), *args[1:]
    if name != "dense_block":
        return args
    x, parameters = args[0], list(args[1:])
    for k in range(0, len(parameters), len(OF_A_DENSE_LAYER)):
        beta1, beta2 = (k + OF_A_DENSE_LAYER.index(name) for name in ("beta1", "beta2"))
        parameters[beta1] = _shifts(parameters[beta1].size, start=x.shape[-1])
        parameters[beta2] = _shifts(parameters[beta2].size)
    return _two_humps(x), *parameters


def _two_humps(x: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    humps = rng.choice([-1, 1], x.shape) * (1 + np.abs(rng.standard_normal(x.shape)) / 4)
    return humps.astype(x.dtype)


def _shifts(channels: int, start: int = 0) -> np.ndarray:
    """OFFSET and -OFFSET in turn from channel `start` on, 0 before."""
    k = np.arange(channels)
    return np.where(k < start, 0, np.where(k % 2, -OFFSET, OFFSET)).astype("float32")


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
