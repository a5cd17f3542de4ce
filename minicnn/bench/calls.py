"""Every call of an op while a model runs: which layer made it, with which arrays, how long it took."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.dispatch import Op
from minicnn.ops.dropout import draw_key
from minicnn.plan.step import Step

SHOWN = 4  # arrays, in tables: a dense block has hundreds


@dataclass
class Call:
    """One call of an op; args and kwargs repeat it, for a key stands in them where a generator was."""

    op: Op
    path: str  # of the layer that made it, "" outside any
    seconds: float = 0.0
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    result: Any = None

    def signature(self) -> tuple[Any, ...]:
        """What two calls of equal cost have in common: op, shapes, options."""
        return self.op.name, _shapes((self.args, tuple(sorted(self.kwargs.items()))))

    def arrays(self) -> list[np.ndarray]:
        """The arrays it reads, those in a Cache among them, each once."""
        return list({id(a): a for a in leaves((self.args, tuple(self.kwargs.values())))}.values())

    def outputs(self) -> list[np.ndarray]:
        """The arrays it makes: y of a forward, the gradients of a backward; a Cache is not counted."""
        forward = self.op.name.endswith(".forward")
        return list(leaves(self.result[0] if forward else self.result))

    def repeat(self) -> Any:
        """The same call again."""
        return self.op(*self.args, **self.kwargs)

    def shown(self) -> str:
        """Its arrays' shapes, as few words as tell it apart: those of args, without the Cache."""
        given = [a for a in self.args if isinstance(a, np.ndarray)]
        cached = [a for a in self.args if isinstance(a, tuple)]
        weights = [a for c in cached for a in leaves(c) if a.ndim in (2, 4)][1:2] if len(given) == 1 else []
        options = [f"{k}={v}" for k, v in self.kwargs.items() if k in ("stride", "padding", "kernel_size") and v]
        return " ".join(["x".join(map(str, a.shape)) for a in (*given[:SHOWN], *weights)] + options)


def leaves(value: Any) -> Iterator[np.ndarray]:
    """The arrays in nested tuples."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from leaves(part)


def _shapes(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, tuple | list):
        return tuple(map(_shapes, value))
    return None if isinstance(value, int) and value >= 2**32 else str(value)  # a key of dropout is not a shape


@contextlib.contextmanager
def watching(model: nn.Module, *, keep: bool) -> Iterator[list[Call]]:
    """Collect the calls made in the block; an op that another one calls is a part of it.  keep holds their arrays.

    Op.__call__ and Module's are exchanged for the time being, in every thread: nothing else sees all calls, those of
    a fused model among them.
    """
    found: list[Call] = []
    under_way: list[str] = []
    paths = {module: path for path, module in model.named_modules()}
    inside = False
    call_op = Op.__call__

    def op(self: Op, *args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        if inside:
            return call_op(self, *args, **kwargs)
        if isinstance(kwargs.get("rng"), np.random.Generator):
            kwargs["rng"] = draw_key(kwargs["rng"])
        inside, start = True, time.perf_counter()
        try:
            result = call_op(self, *args, **kwargs)
        finally:
            inside = False
        call = Call(self, under_way[-1] if under_way else "", time.perf_counter() - start)
        found.append(call)
        if keep:
            call.args, call.kwargs, call.result = args, kwargs, result
        return result

    def within(method: Any) -> Any:
        def called(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            path = self.path if isinstance(self, Step) else paths.get(self, "")
            under_way.append(path or (under_way[-1] if under_way else ""))
            try:
                return method(self, *args, **kwargs)
            finally:
                under_way.pop()

        return called

    exchanged: list[tuple[type, str, Any]] = [(Op, "__call__", op)]
    for module, name in ((nn.Module, "__call__"), (nn.Module, "backward"), (Step, "backward")):
        exchanged.append((module, name, within(getattr(module, name))))
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in exchanged]
    for owner, name, replacement in exchanged:
        setattr(owner, name, replacement)
    try:
        yield found
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def of_step(training: Any, *, keep: bool) -> list[Call]:
    """The calls of one training step of an `ours.Training`."""
    training.model.train()
    with watching(training.model, keep=keep) as found:
        training.step()
    return found
