"""Is `backward` the derivative of `forward`?  Numeric against analytic, in float64.

Take L(t) = <f(a + t v), dy> with a random cotangent dy and a random direction v in one input a.  Then

    dL/dt(0) = <∂L/∂a, v>                                                                (1)

whose right side the backward gives and whose left side needs the forward alone, by fourth-order central differences:

    dL/dt(0) = (8 (L(h) − L(−h)) − (L(2h) − L(−2h))) / (12 h) + O(h⁴)                    (2)

One random direction suffices to find a wrong gradient g' ≠ g: <g' − g, v> = 0 only on a set of directions of measure
zero.  It costs some forward passes, whatever the size of a; mode="full" takes every unit vector for v and so names the
entry that is wrong.  dy is random because with dy = 1 the true gradient of a normalisation or a softmax is 0, and a
backward that returns zeros would pass.

A step h is trusted when (2) with h and with h/2 agree; the first of a falling series that does is taken.  Where none
does, f has a kink at (or very near) the input: a rectifier at 0, a tie in a maximum.  That is an error of its own,
for the derivative does not exist there.  So is a numeric derivative that vanishes: the check would pass for anything.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from minicnn import dispatch, nn
from minicnn.cases import Case

STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # relative to the size of the input
VANISHED = 1e-7  # of the largest |<f, dy>| that was seen, per unit of the input's size: below this nothing is tested
ATTEMPTS = 3  # directions tried before a derivative is said to vanish


class GradcheckError(AssertionError):
    """The analytic gradient is not the derivative, or it cannot be told; the message holds the report."""


@dataclass(frozen=True)
class Row:
    """What was found for one input or parameter."""

    name: str
    shape: tuple[int, ...]
    analytic: float
    numeric: float
    error: float  # |analytic - numeric| / |numeric|; in full mode the largest over entries, over the largest |numeric|
    step: float
    where: str = ""  # in full mode, the index of the worst entry
    problem: str = ""

    def __str__(self) -> str:
        numbers = f"{self.analytic:+.9e} {self.numeric:+.9e} {self.error:8.1e}"
        return f"  {self.name:<24} {self.shape!s:<18} {numbers}  {self.where or ''} {self.problem}".rstrip()


@dataclass(frozen=True)
class Report:
    """One row per tensor; true, since a check that fails raises."""

    subject: str
    rows: tuple[Row, ...]

    @property
    def max_error(self) -> float:
        """The largest relative error of any tensor."""
        return max(row.error for row in self.rows)

    def __str__(self) -> str:
        head = f"  {'gradient of':<24} {'shape':<18} {'analytic':>16} {'numeric':>16} {'error':>8}"
        return "\n".join([f"gradcheck {self.subject}", head, *map(str, self.rows)])


@dataclass
class Probe:
    """A function of some float64 arrays: run(values) -> (y, back), back(dy) -> the gradient of each value."""

    subject: str
    names: Sequence[str]
    values: list[np.ndarray]
    run: Callable[[list[np.ndarray]], tuple[np.ndarray, Callable[[np.ndarray], Sequence[np.ndarray | None]]]]


def gradcheck(
    op_or_module: Any,
    inputs: Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    mode: str = "directional",
    eps: float | None = None,
    rtol: float = 1e-6,
    seed: int = 0,
) -> Report:
    """Check every gradient of an op, a Module (its parameters too) or a loss at the given inputs.

    inputs: an array or a tuple of them; floating-point ones are probed in float64, integers and None are passed on.
    kwargs: the op's keyword arguments.  eps: the step, relative to the input's size (default: found, see above).
    A Module is copied, so that neither its running statistics nor its gradients change, and its dropout masks are
    frozen; it is probed in the mode it is in.  A parameter that is frozen (requires_grad False) is left out.

    Raises GradcheckError where an error exceeds rtol, where a derivative vanishes or does not exist, where a gradient
    has another shape or dtype than its input, or where an input was written to; ValueError for an unknown mode.
    """
    if mode not in ("directional", "full"):
        raise ValueError(f'gradcheck: mode {mode!r}, wanted "directional" or "full"')
    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    with dispatch.using("reference"), nn.record():
        probe = _probe(op_or_module, inputs, dict(kwargs or {}), np.random.default_rng(seed))
        rng = np.random.default_rng([seed, 1])
        y, back = probe.run(probe.values)
        dy = rng.standard_normal(np.shape(y))
        gradients = [_sound(probe, k, g) for k, g in enumerate(_pure(probe, lambda: back(dy)))]
        check = _full if mode == "full" else _directional
        rows = tuple(
            check(probe, k, g, dy, rng, STEPS if eps is None else (eps,), rtol)
            for k, g in enumerate(gradients)
            if g is not None
        )
    report = Report(probe.subject, rows)
    if not rows:
        raise GradcheckError(f"gradcheck {probe.subject}: there is no gradient to check")
    if any(row.problem for row in rows):
        raise GradcheckError(str(report))
    return report


def _directional(probe, k, gradient, dy, rng, steps, rtol) -> Row:
    value = probe.values[k]
    for _ in range(ATTEMPTS):
        v = rng.uniform(0.5, 1.5, value.shape) * rng.choice([-1.0, 1.0], value.shape)  # no component is near 0
        found = _derivative(probe, k, v, dy, steps, rtol)
        if not found.vanished:
            break
    analytic = float((gradient * v).sum())
    error = abs(analytic - found.value) / max(abs(found.value), 1e-300)
    problem = found.problem(rtol) or ("WRONG" if not error <= rtol else "")
    return Row(probe.names[k], value.shape, analytic, found.value, error, found.step, problem=problem)


def _full(probe, k, gradient, dy, rng, steps, rtol) -> Row:
    value = probe.values[k]
    found = []
    for index in np.ndindex(value.shape):
        v = np.zeros_like(value)
        v[index] = 1
        found.append(_derivative(probe, k, v, dy, steps, rtol))
    numeric = np.array([f.value for f in found]).reshape(value.shape)
    largest = max(np.abs(numeric).max(), 1e-300)
    errors = np.abs(gradient - numeric) / largest
    worst = np.unravel_index(np.argmax(np.where(np.isnan(errors), np.inf, errors)), value.shape)
    error, at = float(errors[worst]), found[int(np.ravel_multi_index(worst, value.shape))]
    rough = next((f for f in found if f.doubt > rtol * largest), None)
    problem = (
        at.problem(rtol)
        if all(f.vanished for f in found)
        else "KINK: no derivative here"
        if rough and not error <= rtol
        else "WRONG"
        if not error <= rtol
        else ""
    )
    where = f"at {tuple(map(int, worst))}"
    return Row(
        probe.names[k], value.shape, float(gradient[worst]), float(numeric[worst]), error, at.step, where, problem
    )


@dataclass(frozen=True)
class Derivative:
    """(2), the difference to its value with half the step, and whether it is too small to test anything."""

    value: float
    doubt: float
    step: float
    vanished: bool

    def problem(self, rtol: float) -> str:
        if self.vanished:
            return "VANISHES: any gradient would pass; freeze the parameter or choose other inputs"
        return "KINK: no derivative here" if self.doubt > rtol * abs(self.value) else ""


def _derivative(probe: Probe, k: int, v: np.ndarray, dy: np.ndarray, steps: Sequence[float], rtol: float) -> Derivative:
    value = probe.values[k]
    size = max(float(np.abs(value).max(initial=0)), 1e-3)
    level = 0.0

    def loss(t: float) -> float:
        nonlocal level
        values = [*probe.values[:k], value + t * v, *probe.values[k + 1 :]]
        terms = probe.run(values)[0] * dy
        level = max(level, float(np.abs(terms).max(initial=0)))
        return math.fsum(terms.ravel())

    best = Derivative(0.0, math.inf, 0.0, False)
    for step in steps:
        h = step * size
        outer, middle, inner = (loss(t) - loss(-t) for t in (2 * h, h, h / 2))
        whole, half = (8 * middle - outer) / (12 * h), (8 * inner - middle) / (6 * h)  # (2)
        doubt = abs(whole - half)
        if doubt < best.doubt:
            best = Derivative(half, doubt, step, abs(half) * size < VANISHED * level)
        if doubt <= rtol / 10 * abs(half):
            break
    return best


def _sound(probe: Probe, k: int, gradient: np.ndarray | None) -> np.ndarray | None:
    """The gradient, if it has the shape and dtype of what it differentiates."""
    value = probe.values[k]
    if gradient is not None and (gradient.shape, gradient.dtype) != (value.shape, value.dtype):
        raise GradcheckError(
            f"gradcheck {probe.subject}: the gradient of {probe.names[k]} is {gradient.dtype} {gradient.shape}, "
            f"wanted {value.dtype} {value.shape}"
        )
    return gradient


def _pure(probe: Probe, call: Callable[[], Any]) -> Any:
    """call(), if it leaves every value as it was."""
    before = [v.copy() for v in probe.values]
    result = call()
    for name, old, new in zip(probe.names, before, probe.values, strict=True):
        if not np.array_equal(old, new, equal_nan=True):
            raise GradcheckError(f"gradcheck {probe.subject}: {name} was written to")
    return result


def _probe(subject: Any, inputs: Sequence[Any], kwargs: dict[str, Any], rng: np.random.Generator) -> Probe:
    """The subject as a function of the arrays whose gradients it gives."""
    fixed = [_float64(a) for a in inputs]
    if isinstance(subject, nn.Loss):
        return _of_loss(copy.deepcopy(subject), fixed)
    if isinstance(subject, nn.Module):
        return _of_module(copy.deepcopy(subject).astype("float64"), fixed, rng)
    if hasattr(subject, "forward") and hasattr(subject, "backward"):
        frozen = {k: int(rng.integers(2**63)) if isinstance(v, np.random.Generator) else v for k, v in kwargs.items()}
        return _of_op(subject, fixed, frozen)
    raise TypeError(
        f"gradcheck: {subject!r} is neither an op (a module with forward and backward), a Module nor a loss"
    )


def _of_op(op: Any, inputs: list[Any], kwargs: dict[str, Any]) -> Probe:
    name = getattr(op, "__name__", type(op).__name__).removeprefix("minicnn.ops.")
    _, cache = op.forward(*inputs, **kwargs)
    y = np.asarray(op.forward(*inputs, **kwargs)[0])
    given = len(op.backward(np.zeros_like(y), cache))  # a loss gives no gradient for its target
    probed = [k for k, a in enumerate(inputs[:given]) if _is_float(a)]
    if len(inputs) < given:
        raise GradcheckError(f"gradcheck {name}: backward gives {given} gradients for {len(inputs)} inputs")

    def run(values):
        full = list(inputs)
        for k, v in zip(probed, values, strict=True):
            full[k] = v
        y, cache = op.forward(*full, **kwargs)
        return np.asarray(y), lambda dy: [op.backward(dy, cache)[k] for k in probed]

    names = [f"input {k}" for k in probed]
    return Probe(name, names, [inputs[k] for k in probed], run)


def _of_loss(loss: Any, inputs: list[Any]) -> Probe:
    prediction, target = inputs

    def run(values):
        y = np.asarray(loss(values[0], target))
        return y, lambda dy: [loss.backward(dy)]

    return Probe(type(loss).__name__, ["prediction"], [prediction], run)


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
    return Probe(type(module).__name__, ["input", *(n for n, _ in named)], values, run)


def _is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def _float64(a: Any) -> Any:
    return np.array(a, "float64") if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a


@dataclass(frozen=True)
class CaseResult:
    """What became of one row of minicnn.cases."""

    case: Case
    max_error: float
    failures: tuple[str, ...]  # what the right backward is accused of
    missed: tuple[str, ...]  # wrong backwards that passed

    @property
    def ok(self) -> bool:
        """The right backward passes to 1e-7 and every wrong one is rejected."""
        return not self.failures and not self.missed

    def __str__(self) -> str:
        wrong = f"{len(self.case.wrong) - len(self.missed)}/{len(self.case.wrong)} wrong backwards rejected"
        said = "ok" if self.ok else "; ".join([*self.failures, *(f"PASSES: {name}" for name in self.missed)])
        samples = f"{len(self.case.samples)} samples"
        return f"{self.case.name:<22} {samples:<11} largest error {self.max_error:.1e}   {wrong}   {said}"


def check_case(case: Case, seed: int = 0) -> CaseResult:
    """Check an op on every sample of its row, and that each planted wrong backward is rejected on one of them."""
    calls = [(tuple(s.inputs(np.random.default_rng(seed)).values()), dict(s.kwargs)) for s in case.samples]
    errors, failures = [0.0], []
    for inputs, kwargs in calls:
        try:
            errors.append(gradcheck(case.op, inputs, kwargs=kwargs, rtol=1e-7, seed=seed).max_error)
        except GradcheckError as error:
            failures.append(str(error))
    missed = []
    for name, wrong in case.wrong.items():
        impostor = SimpleNamespace(__name__=name, forward=case.op.forward, backward=wrong)
        if not any(_rejected(impostor, inputs, kwargs, seed) for inputs, kwargs in calls):
            missed.append(name)
    return CaseResult(case, max(errors), tuple(failures), tuple(missed))


def _rejected(impostor: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], seed: int) -> bool:
    """Whether the check calls the gradient wrong (a kink or a vanishing derivative does not count)."""
    try:
        gradcheck(impostor, inputs, kwargs=kwargs, seed=seed)
    except GradcheckError as error:
        return "WRONG" in str(error)
    return False
