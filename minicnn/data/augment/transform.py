"""What every transform shares: the checks at the call, a repr that says its parameters, the checks of parameters."""

import abc
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.backend import Array

Labels = Array | None
Batch = tuple[Array, Labels]
Range = tuple[float, float]


class Transform(abc.ABC):
    """Called `t(x, y, rng=rng) -> (x, y)`, or `t(x, rng=rng) -> x`."""

    def __call__(self, x: Array, y: Labels = None, *, rng: np.random.Generator) -> Any:
        """(x, y) changed, or x alone where y is None.

        ValueError where x is not (N, H, W, C) or y has another length, TypeError where rng is no Generator.
        """
        name = type(self).__name__
        if x.ndim != 4:
            raise ValueError(f"{name}: x has shape {x.shape}, wanted images (N, H, W, C)")
        if y is not None and len(y) != len(x):
            raise ValueError(f"{name}: {len(x)} images came with {len(y)} labels, wanted one for each")
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"{name}: rng is {type(rng).__name__}, wanted a numpy.random.Generator")
        x, labels = self.apply(x, y, rng)
        return x if y is None else (x, labels)

    @abc.abstractmethod
    def apply(self, x: Array, y: Labels, rng: np.random.Generator) -> Batch:
        """The change itself; y is None where the caller has no labels."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def number(owner: str, name: str, value: Any, wanted: str, low: float, high: float = np.inf) -> float:
    """value, if it is a finite number from low to high; TypeError and ValueError say whose it is and what is wanted."""
    message = f"{owner}: {name} is {value!r}, wanted {wanted}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(message)
    result = float(value)
    if not (low <= result <= high and np.isfinite(result)):
        raise ValueError(message)
    return result


def probability(owner: str, p: Any) -> float:
    """p, if it is one."""
    return number(owner, "p", p, "a number from 0 to 1", 0, 1)


def pair(owner: str, name: str, value: Any, wanted: str, low: float, high: float = np.inf) -> Range:
    """(a, b), two numbers from low to high."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{owner}: {name} is {value!r}, wanted {wanted}")
    if len(value) != 2:
        raise ValueError(f"{owner}: {name} is {value!r}, wanted {wanted}")
    first, second = (number(owner, name, v, wanted, low, high) for v in value)
    return first, second


def interval(owner: str, name: str, value: Any, wanted: str, low: float, high: float = np.inf) -> Range:
    """(a, b) with low <= a <= b <= high."""
    first, second = pair(owner, name, value, wanted, low, high)
    if first > second:
        raise ValueError(f"{owner}: {name} is {value!r}, wanted {wanted}")
    return first, second
