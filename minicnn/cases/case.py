"""What a row of the table says about one op."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from minicnn import ops

Arrays = dict[str, Any]  # float64 arrays, integer arrays or None, in the order of the op's arguments
Gradients = tuple[Any, ...]


@dataclass(frozen=True)
class Sample:
    """One call of an op: `forward(*inputs(rng).values(), **kwargs)`."""

    inputs: Callable[[np.random.Generator], Arrays]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Error:
    """A call that must be refused: the first sample with these inputs and keywords replaced."""

    overrides: Mapping[str, Any]
    message: str  # a regular expression
    exception: type[Exception] = ValueError


@dataclass(frozen=True)
class Case:
    """One row: everything tests, `minicnn gradcheck` and benchmarks need to know of an op.

    batch names the inputs whose first axis is the batch, for the tests of batch 1 and of the empty batch; `empty` is
    the message with which an op refuses an empty batch, None where it gives an empty y and zero parameter gradients.
    `wrong` are backwards that the gradient check must reject: they test the tests.
    """

    name: str
    samples: tuple[Sample, ...]
    errors: tuple[Error, ...]
    wrong: Mapping[str, Callable[[Any, Any], Gradients]]
    batch: tuple[str, ...] = ("x",)
    empty: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def op(self) -> ModuleType:
        """The op's module, with `forward` and `backward`."""
        return getattr(ops, self.name)


def normal(*shape: int, loc: float = 0.0, scale: float = 1.0) -> Callable[[np.random.Generator], np.ndarray]:
    """rng -> normal numbers of this shape."""
    return lambda rng: rng.normal(loc, scale, shape)


def arrays(**makers: Callable[[np.random.Generator], Any] | None) -> Callable[[np.random.Generator], Arrays]:
    """rng -> a dict of what each maker makes from rng, in this order (None stays None)."""
    return lambda rng: {name: make and make(rng) for name, make in makers.items()}
