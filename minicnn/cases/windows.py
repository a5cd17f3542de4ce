"""Rows of the ops whose windows slide over an image, and of the linear map.

Pooled inputs are shuffled, evenly spaced numbers: no two in a window are near each other, so no maximum changes under
the probe.
"""

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.ops import avg_pool2d, conv2d, linear, max_pool2d


def distinct(*shape: int):
    """rng -> the numbers -1..1 in even steps, shuffled."""
    return lambda rng: rng.permutation(np.linspace(-1, 1, int(np.prod(shape)))).reshape(shape)


def conv(x, w, b=True, **kwargs) -> Sample:
    return Sample(arrays(x=normal(*x), w=normal(*w), b=normal(w[3]) if b else None), kwargs)


def pool(*shape, **kwargs) -> Sample:
    return Sample(arrays(x=distinct(*shape)), kwargs)


def replaced(gradients, index, value):
    """The gradients with one of them replaced: the usual way to write a wrong backward."""
    return tuple(value if i == index else g for i, g in enumerate(gradients))


def conv_with(dy, c, **changes):
    """The gradients of conv2d as if the cache had said otherwise."""
    return conv2d.backward.definition(dy, c._replace(**changes))


POOL_ERRORS = (
    Error({"x": np.ones((2, 5, 6))}, r"x has shape \(2, 5, 6\), wanted four axes \(N, H, W, C\)"),
    Error({"x": np.ones((2, 5, 6, 1), "int64")}, r"x is int64, wanted floating-point", TypeError),
    Error({"x": "image"}, r"x is a str, wanted a NumPy or CuPy array", TypeError),
    Error({"kernel_size": 0}, r"kernel_size is 0, wanted at least 1"),
    Error({"kernel_size": (2, 2, 2)}, r"kernel_size is \(2, 2, 2\), wanted an int or a pair", TypeError),
    Error({"stride": 0}, r"stride is 0, wanted at least 1"),
    Error({"padding": -1}, r"padding is -1, wanted at least 0"),
    Error({"stride": 1.5}, r"stride is 1.5, wanted an int or a pair", TypeError),
    Error({"padding": 2}, r"padding \(2, 2\) is more than half of kernel_size \(3, 2\)"),
    Error({"kernel_size": 12}, r"a kernel of \(12, 12\) .* does not fit an image of \(7, 6\) with padding \(1, 1\)"),
)

CASES = (
    Case(
        "linear",
        samples=(
            Sample(arrays(x=normal(4, 5), w=normal(5, 3), b=normal(3))),
            Sample(arrays(x=normal(2, 3, 5), w=normal(5, 2), b=None)),
        ),
        errors=(
            Error({"w": np.ones((4, 3))}, r"x \(4, 5\) \(\.\.\., in\) does not fit w \(4, 3\) \(in, out\)"),
            Error({"x": np.ones(5)}, r"x \(5,\) .* does not fit w"),
            Error({"b": np.ones(5)}, r"b has shape \(5,\), wanted \(3,\)"),
            Error({"x": np.ones((4, 5), "int32")}, r"linear: x is int32, wanted floating-point", TypeError),
        ),
        wrong={
            "w not transposed": lambda dy, c: replaced(linear.backward(dy, c), 0, dy @ c.w.reshape(c.w.T.shape)),
            "db averaged": lambda dy, c: (*linear.backward(dy, c)[:2], dy.mean(0)),
            "dw of the first row alone": lambda dy, c: replaced(linear.backward(dy, c), 1, np.outer(c.x[0], dy[0])),
        },
    ),
    Case(
        "conv2d",
        samples=(
            conv((2, 7, 6, 3), (3, 2, 3, 4), stride=(2, 1), padding=(1, 0)),
            conv((2, 5, 5, 2), (3, 3, 2, 3), b=False, padding=1),
            conv((1, 9, 8, 2), (3, 2, 2, 3), dilation=(2, 3), padding=2),
            conv((2, 6, 5, 6), (2, 3, 2, 6), groups=3, stride=2, padding=(0, 2)),
            conv((2, 5, 4, 3), (3, 3, 1, 6), groups=3, padding=1),
            conv((3, 4, 5, 4), (1, 1, 4, 2), stride=(1, 3)),
        ),
        errors=(
            Error({"x": np.ones((2, 7, 6))}, r"x has shape \(2, 7, 6\), wanted four axes \(N, H, W, C\)"),
            Error({"x": np.ones((2, 7, 6, 3), "uint8")}, r"x is uint8, wanted floating-point .*x / 255", TypeError),
            Error(
                {"w": np.ones((3, 3, 3))}, r"w has shape \(3, 3, 3\), wanted four axes \(kh, kw, C_in/groups, C_out\)"
            ),
            Error({"w": np.ones((3, 3, 5, 4))}, r"x \(2, 7, 6, 3\) .* does not fit w \(3, 3, 5, 4\)"),
            Error({"b": np.ones(3)}, r"b has shape \(3,\), wanted \(4,\)"),
            Error({"groups": 2}, r"groups=2 must divide the 3 channels of x and the 4 of y"),
            Error({"groups": 0}, r"groups=0 must divide"),
            Error({"stride": 0}, r"stride is 0, wanted at least 1"),
            Error({"stride": "2"}, r"stride is '2', wanted an int or a pair", TypeError),
            Error({"padding": -1}, r"padding is -1, wanted at least 0"),
            Error({"dilation": 0}, r"dilation is 0, wanted at least 1"),
            Error({"dilation": 9}, r"a kernel of \(3, 2\) \(dilation \(9, 9\)\) does not fit an image of \(7, 6\)"),
        ),
        wrong={
            "dw upside down": lambda dy, c: replaced(conv2d.backward(dy, c), 1, conv2d.backward(dy, c)[1][::-1]),
            "w not flipped for dx": lambda dy, c: replaced(
                conv2d.backward(dy, c), 0, conv_with(dy, c, w=c.w[::-1, ::-1])[0]
            ),
            "dilation forgotten": lambda dy, c: conv_with(dy, c, windows=c.windows._replace(dilation=(1, 1))),
            "db of the first image alone": lambda dy, c: (*conv2d.backward(dy, c)[:2], dy[0].sum((0, 1))),
            "overlaps overwrite": lambda dy, c: replaced(conv2d.backward(dy, c), 0, overwriting(dy, c)),
            "dw averaged over the batch": lambda dy, c: replaced(
                conv2d.backward(dy, c), 1, conv2d.backward(dy, c)[1] / dy.shape[0]
            ),
        },
    ),
    Case(
        "max_pool2d",
        samples=(
            pool(2, 7, 6, 3, kernel_size=(3, 2), stride=(2, 1), padding=1),
            pool(2, 4, 6, 2, kernel_size=2),
            pool(1, 6, 7, 2, kernel_size=3, stride=2, ceil_mode=True),
            pool(2, 8, 8, 1, kernel_size=5, stride=2, padding=2),
        ),
        errors=POOL_ERRORS,
        wrong={
            "shared by the whole window": lambda dy, c: avg_pool2d.backward(
                dy, avg_pool2d.Cache(c.windows, True, dy.shape)
            ),
            "the next tap wins": lambda dy, c: max_pool2d.backward(dy, c._replace(argmax=c.argmax ^ 1)),
            "rows and columns exchanged": lambda dy, c: max_pool2d.backward(
                dy, c._replace(argmax=c.argmax[:, ::-1, ::-1])
            ),
        },
    ),
    Case(
        "avg_pool2d",
        samples=(
            pool(2, 7, 6, 3, kernel_size=(3, 2), stride=(2, 1), padding=1, count_include_pad=False),
            pool(2, 7, 6, 3, kernel_size=(3, 2), stride=(2, 1), padding=1),
            pool(1, 6, 7, 2, kernel_size=3, stride=2, ceil_mode=True),
            pool(1, 6, 8, 2, kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
            pool(2, 4, 6, 2, kernel_size=2),
        ),
        errors=POOL_ERRORS,
        wrong={
            "not divided": lambda dy, c: (avg_pool2d.backward(dy, c)[0] * np.prod(c.windows.kernel),),
            "margin counted": lambda dy, c: avg_pool2d.backward(dy, c._replace(count_include_pad=True)),
            "margin not counted": lambda dy, c: avg_pool2d.backward(dy, c._replace(count_include_pad=False)),
        },
    ),
)


def overwriting(dy, c):
    """conv2d's dx with = in place of += where windows overlap: the classic slip of a col2im."""
    N, C = c.x.shape[0], c.x.shape[3]
    padded = np.zeros(c.windows.padded_shape(N, C))
    for i, j, where in c.windows.taps():
        padded[where] = dy[..., : c.w.shape[3]] @ c.w[i, j].T if c.groups == 1 else 0
    return c.windows.crop(padded)
