"""The subject of a gradient check as a function of the arrays whose gradients it gives."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import backend, nn
from minicnn.gradcheck.report import GradcheckError


@dataclass
class Probe:
    """A function of some float64 arrays: run(values) -> (y, back), back(dy) -> the gradient of each value."""

    subject: str
    names: Sequence[str]
    values: list[np.ndarray]
    run: Callable[[list[np.ndarray]], tuple[np.ndarray, Callable[[np.ndarray], Sequence[np.ndarray | None]]]]
    fixed: Mapping[str, np.ndarray]  # arrays that are passed on and not probed


def probe_of(subject: Any, inputs: Sequence[Any], kwargs: dict[str, Any], rng: np.random.Generator) -> Probe:
    """The subject as a function of the arrays whose gradients it gives."""
    own = [_own(a) for a in inputs]
    if isinstance(subject, (nn.Loss, nn.Module)) and kwargs:
        raise TypeError(f"gradcheck: kwargs are for ops, and {type(subject).__name__} is none")
    if isinstance(subject, nn.Loss):
        return _of_loss(copy.deepcopy(subject), own)
    if isinstance(subject, nn.Module):
        return _of_module(copy.deepcopy(subject).to("cpu").astype("float64"), own, rng)
    if hasattr(subject, "forward") and hasattr(subject, "backward"):
        frozen = {k: int(rng.integers(2**63)) if isinstance(v, np.random.Generator) else v for k, v in kwargs.items()}
        return _of_op(subject, own, frozen)
    raise TypeError(
        f"gradcheck: {subject!r} is neither an op (a module with forward and backward), a Module nor a loss"
    )


def _of_op(op: Any, inputs: list[Any], kwargs: dict[str, Any]) -> Probe:
    name = getattr(op, "__name__", type(op).__name__).removeprefix("minicnn.ops.")
    y, cache = op.forward(*copy.deepcopy(inputs), **kwargs)
    given = len(op.backward(np.zeros_like(y), cache))  # a loss gives no gradient for its target
    if len(inputs) < given:
        raise GradcheckError(f"gradcheck {name}: backward gives {given} gradients for {len(inputs)} inputs")
    probed = [k for k, a in enumerate(inputs[:given]) if _is_float(a)]

    def run(values):
        full = list(inputs)
        for k, v in zip(probed, values, strict=True):
            full[k] = v
        y, cache = op.forward(*full, **kwargs)

        def back(dy):
            gradients = op.backward(dy, cache)
            return [gradients[k] for k in probed]

        return np.asarray(y), back

    arrays = {f"input {k}": a for k, a in enumerate(inputs) if isinstance(a, np.ndarray)}
    values = {f"input {k}": arrays.pop(f"input {k}") for k in probed}
    return Probe(name, list(values), list(values.values()), run, arrays)


def _of_loss(loss: Any, inputs: list[Any]) -> Probe:
    if len(inputs) != 2:
        raise TypeError(f"gradcheck: a loss takes a prediction and a target, got {len(inputs)} input(s)")
    prediction, target = inputs

    def run(values):
        y = np.asarray(loss(values[0], target))
        return y, lambda dy: [loss.backward(dy)]

    return Probe(type(loss).__name__, ["prediction"], [prediction], run, {"target": target})


def _of_module(module: Any, inputs: list[Any], rng: np.random.Generator) -> Probe:
    if len(inputs) != 1:
        raise TypeError(f"gradcheck: a Module takes one input, got {len(inputs)}")
    for layer in module.modules():
        if hasattr(layer, "rng"):
            layer.rng = int(rng.integers(2**63))  # one key: the same mask at every call
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]

    def run(values):
        for (_, p), v in zip(named, values[1:], strict=True):
            p.data = v
        y = module(values[0])

        def back(dy):
            module.zero_grad()
            dx = module.backward(dy)
            return [dx, *(p.grad for _, p in named)]

        return y, back

    values = [inputs[0], *(p.data for _, p in named)]
    return Probe(type(module).__name__, ["input", *(n for n, _ in named)], values, run, {})


def _is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def _own(a: Any) -> Any:
    """A copy on the host, in float64 if a holds floating-point numbers; anything but an array as it is."""
    if not backend.is_array(a):
        return a
    return np.array(backend.to_host(a), "float64" if a.dtype.kind == "f" else a.dtype)
