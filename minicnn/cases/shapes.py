"""Rows of the ops that move, join or average numbers."""

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.ops import concat, flatten, global_avg_pool2d, zero_pad2d


def one(*shape: int, **kwargs) -> Sample:
    return Sample(arrays(x=normal(*shape)), kwargs)


def many(*shapes: tuple[int, ...], **kwargs) -> Sample:
    return Sample(arrays(**{f"x{k}": normal(*shape) for k, shape in enumerate(shapes)}), kwargs)


def channels_first(dy, c):
    """flatten's gradient for one that lets the channel run slowest, as PyTorch has it."""
    N, *image, C = c.shape
    return (np.moveaxis(dy.reshape(N, C, *image), 1, -1),)


NOT_FLOAT = Error({"x": np.ones((2, 4, 3, 2), "uint8")}, r"x is uint8, wanted floating-point", TypeError)
NOT_IMAGE = Error({"x": np.ones((2, 3))}, r"x has shape \(2, 3\), wanted four axes \(N, H, W, C\)")

CASES = (
    Case(
        "zero_pad2d",
        samples=(
            one(2, 4, 3, 2, padding=(1, 0, 2, 3)),
            one(2, 4, 3, 2, padding=(1, 2)),
            one(3, 2, 5, 1, padding=2),
            one(1, 3, 3, 2, padding=0),
        ),
        errors=(
            NOT_FLOAT,
            NOT_IMAGE,
            Error({"padding": -1}, r"padding is -1, wanted no less than 0 on any side"),
            Error({"padding": (1, 1, 0, -2)}, r"padding is \(1, 1, 0, -2\), wanted no less than 0"),
            Error({"padding": (1, 2, 3)}, r"padding is \(1, 2, 3\), wanted an int, \(height, width\) or", TypeError),
            Error({"padding": 1.0}, r"padding is 1.0, wanted an int", TypeError),
            Error({"padding": "same"}, r"padding is 'same', wanted an int", TypeError),
        ),
        wrong={
            "cropped at the corner": lambda dy, c: zero_pad2d.backward(
                np.roll(dy, (c.rows[0], c.columns[0]), (1, 2)), c
            ),
            "rows upside down": lambda dy, c: (zero_pad2d.backward(dy, c)[0][:, ::-1],),
            "columns from the right": lambda dy, c: zero_pad2d.backward(dy, c._replace(columns=c.columns[::-1])),
        },
    ),
    Case(
        "flatten",
        samples=(one(2, 4, 3, 2), one(3, 5, 2), one(4, 3), one(5)),
        errors=(NOT_FLOAT, Error({"x": np.array(1.0)}, r"x has shape \(\), wanted \(N, \.\.\.\)")),
        wrong={
            "channels first": channels_first,
            "Fortran's order": lambda dy, c: (dy.reshape(c.shape, order="F"),),
            "samples reversed": lambda dy, c: flatten.backward(dy[::-1], c),
        },
    ),
    Case(
        "concat",
        samples=(
            many((2, 4, 3, 2), (2, 4, 3, 5), (2, 4, 3, 1)),
            many((2, 3, 4), (2, 1, 4), axis=1),
            many((3, 2, 3), (3, 4, 3), axis=-2),
            many((3, 4)),
        ),
        errors=(
            Error(
                {"x1": np.ones((2, 4, 4, 5))}, r"shapes \[.*\(2, 4, 4, 5\), .*\] do not agree on all axes but axis -1"
            ),
            Error({"x2": np.ones((2, 4, 3))}, r"shapes .* do not agree on all axes"),
            Error({"axis": 4}, r"shapes .* do not agree on all axes but axis 4"),
            Error({"x1": np.ones((2, 4, 3, 5), int)}, r"xs\[1\] is int64, wanted floating-point", TypeError),
        ),
        wrong={
            "every offset 0": lambda dy, c: tuple(np.take(dy, range(n), c.axis) for n in c.sizes),
            "offset of one too few": lambda dy, c: concat.backward(np.roll(dy, 1, c.axis), c),
            "the last alone": lambda dy, c: (
                *(np.zeros_like(g) for g in concat.backward(dy, c)[:-1]),
                concat.backward(dy, c)[-1] * len(c.sizes),
            ),
        },
        batch=("x0", "x1", "x2"),
    ),
    Case(
        "add",
        samples=(many((2, 3, 4, 2), (2, 3, 4, 2)), many((3, 5), (3, 5), (3, 5))),
        errors=(
            Error({"x1": np.ones((2, 3, 4, 1))}, r"shapes \[\(2, 3, 4, 2\), \(2, 3, 4, 1\)\], wanted one shape"),
            Error({"x0": np.ones((2, 3, 4, 2), int)}, r"xs\[0\] is int64, wanted floating-point", TypeError),
        ),
        wrong={
            "shared": lambda dy, c: (dy / len(c.dtypes),) * len(c.dtypes),
            "the first alone": lambda dy, c: (dy, *[np.zeros_like(dy)] * (len(c.dtypes) - 1)),
        },
        batch=("x0", "x1", "x2"),
    ),
    Case(
        "global_avg_pool2d",
        samples=(one(2, 4, 3, 2), one(3, 1, 5, 4), one(1, 2, 2, 1)),
        errors=(
            NOT_FLOAT,
            NOT_IMAGE,
            Error({"x": np.ones((2, 0, 3, 2))}, r"x \(2, 0, 3, 2\) \(N, H, W, C\) has no pixels to take a mean of"),
        ),
        wrong={
            "not divided": lambda dy, c: (global_avg_pool2d.backward(dy, c)[0] * c.shape[1] * c.shape[2],),
            "divided by the height alone": lambda dy, c: (global_avg_pool2d.backward(dy, c)[0] * c.shape[2],),
            "one pixel alone": lambda dy, c: (
                global_avg_pool2d.backward(dy, c)[0] * c.shape[1] * c.shape[2] * (np.arange(c.shape[2]) == 0)[:, None],
            ),
        },
    ),
)
