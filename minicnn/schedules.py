"""Learning rates as functions of the step.

`cosine(lr=0.1, total_steps=1000)` is a function: called with a step, counted from 0, it returns the rate of that step.
Every schedule here equals PyTorch's scheduler of the same kind at every step, is a pure function of its arguments (so a
resumed run needs no state), prints as the call that made it, compares equal to its like, and can be pickled.  The names
are those of functions, which is how they are used; that they are frozen dataclasses is what gives the rest.

A step is whatever the caller counts, batches or epochs.  The constructors raise ValueError for arguments out of range
and TypeError for what is not a number; a call raises TypeError for a step that is no integer, ValueError below 0.
"""

import bisect
import math
import numbers
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class step:
    """lr · gammaᵏ with k = ⌊step / step_size⌋: torch's StepLR."""

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _rate(self, "lr")
        _count(self, "step_size", least=1)
        _positive(self, "gamma")

    def __call__(self, step: int) -> float:
        return self.lr * self.gamma ** (_index(step) // self.step_size)


@dataclass(frozen=True)
class multi_step:
    """lr · gammaᵏ with k the number of milestones ≤ step: torch's MultiStepLR.  milestones increase."""

    lr: float
    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _rate(self, "lr")
        _positive(self, "gamma")
        given = tuple(self.milestones) if isinstance(self.milestones, Sequence) else (None,)
        if not all(_is_int(m) for m in given):
            raise TypeError(f"multi_step: milestones is {self.milestones!r}; wanted a sequence of integers")
        if not all(low < high for low, high in zip((0, *given), given, strict=False)):
            raise ValueError(f"multi_step: milestones is {self.milestones!r}; wanted increasing integers above 0")
        object.__setattr__(self, "milestones", given)

    def __call__(self, step: int) -> float:
        return self.lr * self.gamma ** bisect.bisect_right(self.milestones, _index(step))


@dataclass(frozen=True)
class exponential:
    """lr · gammaˢᵗᵉᵖ: torch's ExponentialLR."""

    lr: float
    gamma: float

    def __post_init__(self) -> None:
        _rate(self, "lr")
        _positive(self, "gamma")

    def __call__(self, step: int) -> float:
        return self.lr * self.gamma ** _index(step)


@dataclass(frozen=True)
class cosine:
    """min_lr + (lr − min_lr) (1 + cos(π step / total_steps)) / 2: torch's CosineAnnealingLR with T_max = total_steps.

    Loshchilov & Hutter 2017, arXiv:1608.03983, equation (5), without restarts: from total_steps on it stays at min_lr,
    where torch's rises again.
    """

    lr: float
    total_steps: int
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        _rate(self, "lr")
        _count(self, "total_steps", least=1)
        _rate(self, "min_lr")
        if self.min_lr > self.lr:
            raise ValueError(f"cosine: min_lr is {self.min_lr}; wanted at most lr, which is {self.lr}")

    def __call__(self, step: int) -> float:
        return _cosine(self.lr, self.min_lr, min(_index(step) / self.total_steps, 1.0))


@dataclass(frozen=True)
class one_cycle:
    """Up from max_lr/div_factor to max_lr, then down to a final rate, both along a cosine: torch's OneCycleLR.

    The top is at step pct_start · total_steps − 1 and the end, max_lr/(div_factor · final_div_factor), at step
    total_steps − 1, where the rate then stays.  Smith & Topin 2017, arXiv:1708.07120, go up and down along straight
    lines; the cosine is torch's default.
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        _rate(self, "max_lr")
        _count(self, "total_steps", least=1)
        _number(self, "pct_start", "wanted a number in [0, 1]", lambda x: 0 <= x <= 1)
        _positive(self, "div_factor")
        _positive(self, "final_div_factor")

    def __call__(self, step: int) -> float:
        first = self.max_lr / self.div_factor
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        i = min(_index(step), end)
        if i < top:
            return _cosine(first, self.max_lr, i / top)
        return _cosine(self.max_lr, first / self.final_div_factor, (i - top) / (end - top) if end > top else 0.0)


@dataclass(frozen=True)
class warmup:
    """A straight rise over warmup_steps to the first rate of a schedule, which then begins; or to a constant rate.

    With s the schedule and W = warmup_steps: s(0) · (f + (1 − f) step/W), f = start_factor, before W; s(step − W) from
    then on.  This is torch's LinearLR followed by the schedule (SequentialLR).  Goyal et al. 2017, arXiv:1706.02677,
    section 2.2.
    """

    schedule: Callable[[int], float] | float
    warmup_steps: int
    start_factor: float = 1 / 3

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            _rate(self, "schedule")
        _count(self, "warmup_steps", least=0)
        _number(self, "start_factor", "wanted a number in (0, 1]", lambda x: 0 < x <= 1)

    def __call__(self, step: int) -> float:
        i, W, f = _index(step), self.warmup_steps, self.start_factor
        rate = self.schedule(max(i - W, 0)) if callable(self.schedule) else self.schedule
        return rate * (f + (1 - f) * i / W) if i < W else rate


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def _index(step: int) -> int:
    if not _is_int(step):
        raise TypeError(f"schedule: step is {step!r}; wanted an integer")
    if step < 0:
        raise ValueError(f"schedule: step is {step}; wanted 0 or more")
    return operator.index(step)


def _is_int(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _number(schedule: object, name: str, wanted: str, fits: Callable[[float], bool]) -> None:
    value, where = getattr(schedule, name), type(schedule).__name__
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{where}: {name} is {value!r}; {wanted}")
    if not fits(float(value)):
        raise ValueError(f"{where}: {name} is {value!r}; {wanted}")
    object.__setattr__(schedule, name, float(value))  # a NumPy float would turn float32 parameters into float64


def _rate(schedule: object, name: str) -> None:
    _number(schedule, name, "wanted a finite number, 0 or more", lambda x: 0 <= x < math.inf)


def _positive(schedule: object, name: str) -> None:
    _number(schedule, name, "wanted a finite number above 0", lambda x: 0 < x < math.inf)


def _count(schedule: object, name: str, least: int) -> None:
    value, where = getattr(schedule, name), type(schedule).__name__
    if not _is_int(value):
        raise TypeError(f"{where}: {name} is {value!r}; wanted an integer, {least} or more")
    if value < least:
        raise ValueError(f"{where}: {name} is {value!r}; wanted an integer, {least} or more")
    object.__setattr__(schedule, name, int(value))
