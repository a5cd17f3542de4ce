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
does, f has a kink very near the input.  A kink at the input itself, a rectifier at 0 or a tie in a maximum, shows in
the slopes on both sides of it, which differ by the same jump J for every h:

    J = 2 K(h/2) − K(h) + O(h³),   K(h) = (L(h) − 2 L(0) + L(−h)) / h                    (3)

Either is an error of its own, for the derivative does not exist there.  So is a numeric derivative that vanishes: the
check would pass for anything.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import backend, dispatch, nn
from minicnn.gradcheck.probe import Probe, probe_of
from minicnn.gradcheck.report import GradcheckError, Report, Row

STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # relative to the size of the input
VANISHED = 1e-7  # of the largest |<f, dy>| that was seen, per unit of the input's size: below this nothing is tested
ATTEMPTS = 3  # directions tried before a derivative is said to vanish
VANISHES = "VANISHES: any gradient would pass; freeze the parameter or choose other inputs"
TINY = 1e-300


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
    is missing or has another shape or dtype than its input, where y is not finite, or where an input or dy was written
    to; ValueError for an unknown mode, an eps or rtol that is not positive and an input without elements; TypeError
    for anything that is no op, Module or loss, for too few or too many inputs and for kwargs of what takes none.
    """
    if mode not in ("directional", "full"):
        raise ValueError(f'gradcheck: mode {mode!r}, wanted "directional" or "full"')
    if not (eps is None or eps > 0) or not rtol > 0:
        raise ValueError(f"gradcheck: eps={eps} and rtol={rtol}, wanted positive numbers")
    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    with dispatch.using("reference"), nn.record():
        probe = probe_of(op_or_module, inputs, dict(kwargs or {}), np.random.default_rng(seed))
        rng = np.random.default_rng([seed, 1])
        dy, gradients = _analytic(probe, rng)
        check = _full if mode == "full" else _directional
        steps = STEPS if eps is None else (eps,)
        rows = tuple(check(probe, k, g, dy, rng, steps, rtol) for k, g in enumerate(gradients))
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
    analytic, scale = float((gradient * v).sum()), max(abs(found.value), TINY)
    error = abs(analytic - found.value) / scale
    problem = VANISHES if found.vanished else found.problem(analytic, scale, rtol)
    return Row(probe.names[k], value.shape, analytic, found.value, error, found.step, problem=problem)


def _full(probe, k, gradient, dy, rng, steps, rtol) -> Row:
    value = probe.values[k]
    found = []
    for index in np.ndindex(value.shape):
        v = np.zeros_like(value)
        v[index] = 1
        found.append(_derivative(probe, k, v, dy, steps, rtol))
    numeric = np.array([f.value for f in found]).reshape(value.shape)
    largest = max(np.abs(numeric).max(), TINY)
    errors = np.abs(gradient - numeric) / largest
    worst = np.unravel_index(np.argmax(errors), value.shape)  # the first NaN, where there is one
    error, at = float(errors[worst]), found[int(np.ravel_multi_index(worst, value.shape))]
    analytic, where = float(gradient[worst]), f"at {tuple(map(int, worst))}"
    if all(f.vanished for f in found):
        problem = VANISHES
    else:
        problem = "" if error <= rtol else at.problem(analytic, largest, rtol)
    return Row(probe.names[k], value.shape, analytic, at.value, error, at.step, where, problem)


@dataclass(frozen=True)
class Derivative:
    """(2), the difference to its value with half the step, (3), and whether it is too small to test anything."""

    value: float
    doubt: float
    jump: float
    step: float
    vanished: bool

    def problem(self, analytic: float, scale: float, rtol: float) -> str:
        """What is wrong with the analytic derivative, of which an error of rtol scale is allowed."""
        error = abs(analytic - self.value)
        # (3) is the size of the error at a kink, and a minute part of it where a wrong gradient meets a smooth point
        if self.doubt > rtol * scale or (error > rtol * scale and self.jump > error / 100):
            return "KINK: no derivative here"
        return "" if error <= rtol * scale else "WRONG"


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

    here = loss(0)
    best = Derivative(0.0, math.inf, 0.0, 0.0, False)
    for step in steps:
        h = step * size
        (a, A), (b, B), (c, C) = ((loss(-t), loss(t)) for t in (2 * h, h, h / 2))
        whole, half = (8 * (B - b) - (A - a)) / (12 * h), (8 * (C - c) - (B - b)) / (6 * h)  # (2)
        jump = abs(4 * (C - 2 * here + c) - (B - 2 * here + b)) / h  # (3)
        doubt = abs(whole - half)
        if doubt < best.doubt:
            best = Derivative(half, doubt, jump, step, abs(half) * size <= VANISHED * level)
        if doubt <= rtol / 10 * abs(half):
            break
    return best


def _analytic(probe: Probe, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """A random dy and the gradients for it; GradcheckError where they cannot be those of the values."""
    for name, value in zip(probe.names, probe.values, strict=True):
        if value.size == 0:
            raise ValueError(f"gradcheck {probe.subject}: {name} has shape {value.shape}, wanted at least one element")
    y, back = _pure(probe, {}, lambda: probe.run(probe.values))
    if not np.isfinite(y).all():
        raise GradcheckError(f"gradcheck {probe.subject}: y is not finite at these inputs")
    dy = np.asarray(rng.standard_normal(np.shape(y)))
    gradients = _pure(probe, {"dy": dy}, lambda: back(dy))
    for name, value, g in zip(probe.names, probe.values, gradients, strict=True):
        if g is None:
            raise GradcheckError(
                f"gradcheck {probe.subject}: backward gives no gradient of {name}; freeze a parameter that is not used"
            )
        came = f"{g.dtype} {g.shape}" if backend.is_array(g) else f"a {type(g).__name__}"
        if came != (wanted := f"{value.dtype} {value.shape}"):
            raise GradcheckError(f"gradcheck {probe.subject}: the gradient of {name} is {came}, wanted {wanted}")
    return dy, list(gradients)


def _pure(probe: Probe, more: Mapping[str, np.ndarray], call: Callable[[], Any]) -> Any:
    """call(), if it leaves every array as it was."""
    arrays = {**dict(zip(probe.names, probe.values, strict=True)), **probe.fixed, **more}
    before = copy.deepcopy(arrays)
    result = call()
    for name, old in before.items():
        if not np.array_equal(old, arrays[name], equal_nan=True):
            raise GradcheckError(f"gradcheck {probe.subject}: {name} was written to")
    return result
