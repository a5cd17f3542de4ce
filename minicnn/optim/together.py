"""All parameters in one kernel launch: what `Optimizer.step` does where the arrays are float32 on the host.

For each `update` there is a Rule: the number of its equations in `update_numba`, the arrays of its state, and the
numbers it takes.  A class with an `update` of its own has none, and its definition runs.

Parameters' data are replaced, as by `update`: a user's array is never written into.  But an array that an optimiser has
made itself, and to which nobody else refers, nobody could tell from a new one; it is written into, which spares memory.
The state is the optimiser's own and always written into.
"""

import sys
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend, threads
from minicnn.optim.adam import Adam, AdamW
from minicnn.optim.adaptive import Adadelta, Adagrad, RMSprop
from minicnn.optim.sgd import SGD

Options = dict[str, Any]
State = dict[str, Any]
Numbers = list[tuple[float, ...]]
Names = tuple[str | None, str | None, str | None]
FLOAT = np.dtype("float32")
SGD_RULE, ADAM_RULE, ADAGRAD_RULE, RMSPROP_RULE, ADADELTA_RULE, AVERAGE_RULE = range(6)
NUMBERS = 10  # the most that a rule takes


class Rule(NamedTuple):
    """What the kernel needs to know of an `update`."""

    number: int
    states: Callable[[Options], Names]  # the names of up to three arrays, None in the place of one that is not used
    numbers: Callable[[Options, int], tuple[float, ...]]  # from the options and the number of this step, from 1
    counts: bool = False  # whether the state keeps the number of steps
    initial: str | None = None  # the option that the state starts from, 0 without


def _sgd(o: Options, t: int) -> tuple[float, ...]:
    kept, taken = (0.0, 1.0) if t == 1 else (o["momentum"], 1 - o["dampening"])
    return o["lr"], o["momentum"], o["weight_decay"], kept, taken, o["nesterov"]


def _adam(o: Options, t: int) -> tuple[float, ...]:
    beta1, beta2 = o["betas"]
    rate, unbiased = o["lr"] / (1 - beta1**t), (1 - beta2**t) ** -0.5
    return rate, beta1, 1 - beta1, beta2, 1 - beta2, o["eps"], o["weight_decay"], unbiased, o["amsgrad"], 1.0


def _adamw(o: Options, t: int) -> tuple[float, ...]:
    return (*_adam(o | {"weight_decay": 0.0}, t)[:-1], 1 - o["lr"] * o["weight_decay"])


def _adagrad(o: Options, t: int) -> tuple[float, ...]:
    return o["lr"] / (1 + (t - 1) * o["lr_decay"]), o["weight_decay"], o["eps"]


def _rmsprop(o: Options, t: int) -> tuple[float, ...]:
    return o["lr"], o["alpha"], 1 - o["alpha"], o["eps"], o["weight_decay"], o["momentum"], o["centered"]


def _adadelta(o: Options, t: int) -> tuple[float, ...]:
    return o["lr"], o["rho"], 1 - o["rho"], o["eps"], o["weight_decay"]


def _adam_states(o: Options) -> Names:
    return "exp_avg", "exp_avg_sq", "max_exp_avg_sq" if o["amsgrad"] else None


def _rmsprop_states(o: Options) -> Names:
    return "square_avg", "grad_avg" if o["centered"] else None, "momentum_buffer" if o["momentum"] else None


RULES: dict[Any, Rule] = {
    SGD.update: Rule(SGD_RULE, lambda o: ("momentum_buffer" if o["momentum"] else None, None, None), _sgd),
    Adam.update: Rule(ADAM_RULE, _adam_states, _adam, counts=True),
    AdamW.update: Rule(ADAM_RULE, _adam_states, _adamw, counts=True),
    Adagrad.update: Rule(
        ADAGRAD_RULE, lambda o: ("sum", None, None), _adagrad, counts=True, initial="initial_accumulator_value"
    ),
    RMSprop.update: Rule(RMSPROP_RULE, _rmsprop_states, _rmsprop),
    Adadelta.update: Rule(ADADELTA_RULE, lambda o: ("square_avg", "acc_delta", None), _adadelta),
}


class Known(NamedTuple):
    """What a launch left of a parameter: while all of it is as it was, little has to be examined again."""

    data: Any  # the array it was given; None before the first launch
    shape: tuple[int, ...]
    size: int
    state: State
    names: Names
    arrays: tuple[Any, ...]  # those of the state that the rule uses, at their places


class Launch:
    """A step of every parameter that the kernel takes.  Nothing is changed before `run`."""

    def __init__(self, rule: Rule, states: dict[Any, State], known: dict[Any, Known]):
        self.rule, self.states, self.known = rule, states, known
        self.step = 0  # the one that the last row of numbers is for
        self.entries: list[tuple[Any, Known, np.ndarray, int]] = []
        self.objects: list[np.ndarray] = []  # six for each parameter
        self.sizes: list[int] = [0]
        self.rows: list[int] = []
        self.numbers: Numbers = []

    def group(self, options: Options) -> None:
        """The parameters that follow have these options."""
        self.options, self.names, self.step = options, self.rule.states(options), 0

    def takes(self, p: Any) -> bool:
        """Whether the kernel takes this parameter; if so, `run` will update it."""
        grad, known, state = p.grad, self.known.get(p), self.states.get(p)
        if known is None or known.data is not p.data or known.state is not state or not self._has(known):
            known = self._examined(p, state or {})
        if known is None or not _plain(grad) or grad.shape != known.shape:
            return False
        step = known.state.get("step", 1 if known.state else 0) + 1
        if step != self.step:
            self.step = step
            self.numbers.append(self.rule.numbers(self.options, step))
        new = known.data if _references(p, known) in ALONE else backend.empty(known.shape)
        a, b, c = known.arrays
        self.objects += p.data, new, grad, grad if a is None else a, grad if b is None else b, grad if c is None else c
        self.sizes.append(known.size)
        self.rows.append(len(self.numbers) - 1)
        self.entries.append((p, known, new, step))
        return True

    def _has(self, known: Known) -> bool:
        """Whether the state still holds the arrays that were used last, and the same are wanted now."""
        get: Callable[[Any], Any] = known.state.get
        (a, b, c), (x, y, z) = self.names, known.arrays
        return self.names == known.names and get(a) is x and get(b) is y and get(c) is z

    def _examined(self, p: Any, state: State) -> Known | None:
        """What there is to know of a parameter; None where the kernel does not take it."""
        values = [value for name, value in state.items() if name != "step"]
        if not all(_plain(x) and x.shape == p.data.shape for x in (p.data, *values)):
            return None
        arrays = tuple(self._array(name, state, p.data.shape) for name in self.names)
        return Known(None, p.data.shape, p.data.size, state, self.names, arrays)

    def _array(self, name: str | None, state: State, shape: tuple[int, ...]) -> np.ndarray | None:
        if name is None:
            return None
        if name in state:
            return state[name]
        array = backend.empty(shape)
        array.fill(self.options[self.rule.initial] if self.rule.initial else 0)
        return array

    def run(self) -> None:
        """Update the parameters and their states, in one launch."""
        if self.entries:
            run_rule(self.rule.number, self.objects, self.sizes, self.rows, self.numbers)
        for p, known, new, step in self.entries:
            if new is not known.data:
                known.state.update({n: x for n, x in zip(known.names, known.arrays, strict=True) if n})
                p.data, self.states[p], self.known[p] = new, known.state, known._replace(data=new)
            if self.rule.counts:
                known.state["step"] = step


def averaged(averages: list[Any], values: list[Any], share: float) -> list[np.ndarray] | None:
    """a + share (v - a) of each pair, as new arrays; None where the kernel does not take them all."""
    if threads.lost() or not all(map(_plain, averages + values)):
        return None
    new = [backend.empty(a.shape) for a in averages]
    objects = [x for a, y, v in zip(averages, new, values, strict=True) for x in (a, y, v, v, v, v)]
    run_rule(AVERAGE_RULE, objects, [0, *(a.size for a in averages)], [0] * len(new), [(share,)])
    return new


def run_rule(
    rule: int, objects: list[Any], sizes: list[int], rows: list[int], numbers: list[tuple[float, ...]]
) -> None:
    """Launch the kernel: of parameter p there are the arrays objects[6p:6p+6] and the numbers of numbers[rows[p]]."""
    from minicnn.optim.update_numba import update_all

    table = np.fromiter(map(id, objects), np.int64, len(objects)).reshape(-1, 6)
    starts = np.fromiter(accumulate(sizes), np.int64, len(sizes))
    padded = np.zeros((len(numbers), NUMBERS), FLOAT)
    for row, values in zip(padded, numbers, strict=True):
        row[: len(values)] = values
    threads.run(update_all, rule, table, starts, np.array(rows), padded, threads.count())


def _plain(array: Any) -> bool:
    """Whether the kernel takes this array."""
    return type(array) is np.ndarray and array.dtype == FLOAT and array.flags.c_contiguous


def _references(p: Any, known: Known) -> tuple[int, int]:
    """How many refer to p's data and to the block of pooled memory behind them; (0, 0) where no launch made them."""
    data = known.data
    if data is None or data is not p.data:
        return 0, 0
    return sys.getrefcount(data), 0 if data.base is None else sys.getrefcount(data.base)


class _Probe:
    """Something that holds data as a Parameter does."""

    def __init__(self, data: np.ndarray):
        self.data = data


def _least_references() -> list[tuple[int, int]]:
    """What `_references` finds where only a parameter, a Known and the pool refer to the data: pooled, or NumPy's."""
    pool = [np.empty(8, np.uint8)]
    found = []
    for make in (lambda: np.ndarray(2, FLOAT, pool[0]), lambda: np.empty(2, FLOAT)):
        probe = _Probe(make())
        found.append(_references(probe, Known(probe.data, (2,), 2, {}, (None, None, None), ())))
    return found


ALONE = _least_references()
