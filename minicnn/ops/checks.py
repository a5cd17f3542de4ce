"""What every op asks of its arguments, in one wording: which op, what came, what is wanted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import backend

Array = backend.Array
Size = int | Sequence[int]


def floating(op: str, **arrays: Array | None) -> None:
    """TypeError unless each array (None passes) is a NumPy or CuPy array of floating-point numbers."""
    for name, a in arrays.items():
        if a is None or (type(a) is np.ndarray and a.dtype.kind == "f"):
            continue
        if not backend.is_array(a):
            raise TypeError(f"{op}: {name} is a {type(a).__name__}, wanted a NumPy or CuPy array")
        if a.dtype.kind != "f":
            raise TypeError(f"{op}: {name} is {a.dtype}, wanted floating-point numbers (scale images: x / 255)")


def image(op: str, x: Array) -> None:
    """Floating-point and (N, H, W, C)."""
    floating(op, x=x)
    if x.ndim != 4:
        raise ValueError(f"{op}: x has shape {x.shape}, wanted four axes (N, H, W, C), channels last")


def pair(op: str, name: str, value: Size, *, least: int) -> tuple[int, int]:
    """An int or a pair (height, width) of ints >= least, as a pair."""
    if type(value) is int and value >= least:
        return value, value
    values: Sequence[Any] = value if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values):
        raise TypeError(f"{op}: {name} is {value!r}, wanted an int or a pair (height, width) of ints")
    if min(values) < least:
        raise ValueError(f"{op}: {name} is {value!r}, wanted at least {least}")
    return int(values[0]), int(values[1])


def per_channel(op: str, x: Array, **vectors: Array) -> None:
    """Each vector holds one floating-point number for each channel of x, its last axis."""
    floating(op, x=x, **vectors)
    if x.ndim < 2:
        raise ValueError(f"{op}: x has shape {x.shape}, wanted at least two axes (..., C), channels last")
    for name, v in vectors.items():
        if v.shape != x.shape[-1:]:
            raise ValueError(
                f"{op}: x has {x.shape[-1]} channels (shape {x.shape}, channels last) but {name} has shape {v.shape}"
            )


def upstream(op: str, dy: Array, shape: tuple[int, ...]) -> None:
    """The gradient that reaches an op has the shape of the op's result."""
    if dy.shape != shape:
        raise ValueError(f"{op}.backward: dy has shape {dy.shape}, wanted {shape}, the shape of y")
