"""Random changes to a batch of training images, and to its labels where they change too.

A transform is called `t(x, y, rng=rng) -> (x, y)`, or `t(x, rng=rng) -> x`, with x (N, H, W, C) and labels y of length
N.  All randomness comes from the Generator, so the same Generator gives the same batch.  What comes out has the dtype
that went in; what went in is never written to.  Any callable that keeps these rules will do.

A new transform is a subclass of `Transform`: its parameters are its attributes, its work is `apply`.
"""

import abc
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Labels = np.ndarray | None
Batch = tuple[np.ndarray, Labels]


class Transform(abc.ABC):
    """What every transform shares: the checks at the call, and a repr that says its parameters."""

    def __call__(self, x: np.ndarray, y: Labels = None, *, rng: np.random.Generator) -> Any:
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
    def apply(self, x: np.ndarray, y: Labels, rng: np.random.Generator) -> Batch:
        """The change itself; y is None where the caller has no labels."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class Compose(Transform):
    """One transform after another, on one Generator: `Compose(a, b)` or `Compose([a, b])`; without any, no change."""

    def __init__(self, *transforms: Callable[..., Any] | Sequence[Callable[..., Any]]) -> None:
        listed = transforms[0] if len(transforms) == 1 and isinstance(transforms[0], (list, tuple)) else transforms
        for position, transform in enumerate(listed):
            if not callable(transform):
                raise TypeError(f"Compose: transform {position} is {transform!r}, wanted a callable t(x, y, rng=rng)")
        self.transforms: tuple[Any, ...] = tuple(listed)

    def apply(self, x: np.ndarray, y: Labels, rng: np.random.Generator) -> Batch:
        for transform in self.transforms:
            if y is None:
                x = transform(x, rng=rng)
            else:
                x, y = transform(x, y, rng=rng)
        return x, y

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class RandomHorizontalFlip(Transform):
    """Each image mirrored left to right with probability p, for a face keeps its expression in the mirror."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("RandomHorizontalFlip", p)

    def apply(self, x: np.ndarray, y: Labels, rng: np.random.Generator) -> Batch:
        flipped = rng.random(len(x)) < self.p
        return np.where(flipped[:, None, None, None], x[:, :, ::-1], x), y


def _probability(owner: str, p: float) -> float:
    """p, if it is one; TypeError and ValueError say whose it is."""
    if isinstance(p, bool) or not isinstance(p, numbers.Real):
        raise TypeError(f"{owner}: p is {p!r}, wanted a number from 0 to 1")
    if not 0 <= p <= 1:
        raise ValueError(f"{owner}: p is {p}, wanted a number from 0 to 1")
    return float(p)
