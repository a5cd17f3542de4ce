"""One transform after another."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minicnn.backend import Array
from minicnn.data.augment.geometric import Geometric, resample
from minicnn.data.augment.transform import Batch, Labels, Transform


class Compose(Transform):
    """One transform after another, on one Generator: `Compose(a, b)` or `Compose([a, b])`; without any, no change.

    Geometric transforms that follow each other, and fill alike what is beyond the edges, are one map and resample once
    (`minicnn.data.augment.geometric`).  They draw what they would draw one by one.
    """

    def __init__(self, *transforms: Callable[..., Any] | Sequence[Callable[..., Any]]) -> None:
        listed = transforms[0] if len(transforms) == 1 and isinstance(transforms[0], (list, tuple)) else transforms
        for position, transform in enumerate(listed):
            if not callable(transform):
                raise TypeError(f"Compose: transform {position} is {transform!r}, wanted a callable t(x, y, rng=rng)")
        self.transforms: tuple[Any, ...] = tuple(listed)

    def apply(self, x: Array, y: Labels, rng: np.random.Generator) -> Batch:
        for run in _runs(self.transforms):
            if len(run) > 1 and any(t.fill_mode for t in run):  # flips alone need no resampling
                x = resample(run, x, rng)
                continue
            for transform in run:
                if y is None:
                    x = transform(x, rng=rng)
                else:
                    x, y = transform(x, y, rng=rng)
        return x, y

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


def _runs(transforms: Sequence[Any]) -> list[list[Any]]:
    """The transforms in lists, those that may be merged together in one."""
    runs: list[list[Any]] = []
    for transform in _flat(transforms):
        if runs and _mergeable([*runs[-1], transform]):
            runs[-1].append(transform)
        else:
            runs.append([transform])
    return runs


def _flat(transforms: Sequence[Any]) -> Iterator[Any]:
    for transform in transforms:
        if type(transform) is Compose:
            yield from _flat(transform.transforms)
        else:
            yield transform


def _mergeable(run: Sequence[Any]) -> bool:
    """Whether all are geometric, and those that fill fill alike."""
    if not all(isinstance(t, Geometric) for t in run):
        return False
    return len({(t.fill_mode, t.fill_value) for t in run if t.fill_mode is not None}) <= 1
