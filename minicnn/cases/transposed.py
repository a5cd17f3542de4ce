"""The row of transposed convolution."""

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.cases.windows import replaced
from minicnn.ops import conv_transpose2d


def transposed(x, w, b=True, **kwargs) -> Sample:
    return Sample(arrays(x=normal(*x), w=normal(*w), b=normal(w[2]) if b else None), kwargs)


def stamped(dy, c):
    """The dx of one that takes the backward for another transposed convolution, with its channels exchanged."""
    w, (kh, kw) = np.swapaxes(c.w, 2, 3), c.w.shape[:2]
    stamps = conv_transpose2d.forward(dy, w, stride=c.windows.stride)[0]
    return stamps[:, kh - 1 :, kw - 1 :][:, : c.x.shape[1], : c.x.shape[2]]


CASES = (
    Case(
        "conv_transpose2d",
        samples=(
            transposed((2, 4, 3, 3), (3, 2, 4, 3), stride=(2, 1), padding=(1, 0), output_padding=(1, 0)),
            transposed((2, 3, 5, 2), (3, 3, 3, 2), b=False, padding=1),
            transposed((1, 4, 4, 2), (4, 5, 1, 2), stride=2, padding=(1, 2)),
            transposed((3, 2, 3, 4), (1, 2, 2, 4), stride=3, output_padding=2),
            transposed((2, 3, 2, 1), (2, 3, 3, 1), stride=(3, 2), padding=(0, 1), output_padding=(2, 1)),
        ),
        errors=(
            Error({"x": np.ones((2, 4, 3))}, r"x has shape \(2, 4, 3\), wanted four axes \(N, H, W, C\)"),
            Error({"x": np.ones((2, 4, 3, 3), "uint8")}, r"x is uint8, wanted floating-point", TypeError),
            Error({"w": np.ones((3, 2, 4, 3), int)}, r"w is int64, wanted floating-point", TypeError),
            Error({"w": np.ones((3, 2, 3))}, r"does not fit w \(3, 2, 3\) \(kh, kw, C_out, C_in\)"),
            Error({"w": np.ones((3, 2, 3, 4))}, r"x \(2, 4, 3, 3\) .* does not fit w \(3, 2, 3, 4\)"),
            Error({"b": np.ones(3)}, r"b has shape \(3,\), wanted \(4,\), one for each channel"),
            Error({"stride": 0}, r"stride is 0, wanted at least 1"),
            Error({"padding": -1}, r"padding is -1, wanted at least 0"),
            Error({"padding": "same"}, r"padding is 'same', wanted an int or a pair", TypeError),
            Error({"output_padding": -1}, r"output_padding is -1, wanted at least 0"),
            Error({"output_padding": (1, 1)}, r"output_padding \(1, 1\) must be smaller than stride \(2, 1\)"),
            Error(
                {"padding": (1, 2)}, r"a kernel of \(3, 2\), stride \(2, 1\) and padding \(1, 2\) .* image of \(8, 0\)"
            ),
            Error({"x": np.ones((2, 0, 3, 3)), "padding": 0}, r"x \(2, 0, 3, 3\) .* an image of"),
        ),
        wrong={
            "kernel upside down for dx": lambda dy, c: replaced(
                conv_transpose2d.backward(dy, c), 0, conv_transpose2d.backward(dy, c._replace(w=c.w[::-1, ::-1]))[0]
            ),
            "kernel upside down for dw": lambda dy, c: replaced(
                conv_transpose2d.backward(dy, c), 1, conv_transpose2d.backward(dy, c)[1][::-1, ::-1]
            ),
            "another transposed convolution for dx": lambda dy, c: replaced(
                conv_transpose2d.backward(dy, c), 0, stamped(dy, c)
            ),
            "padding on one side": lambda dy, c: conv_transpose2d.backward(np.roll(dy, c.windows.padding, (1, 2)), c),
            "db of the first image alone": lambda dy, c: replaced(
                conv_transpose2d.backward(dy, c), 2, dy[0].sum((0, 1)) if c.has_bias else None
            ),
            "dw averaged over the batch": lambda dy, c: replaced(
                conv_transpose2d.backward(dy, c), 1, conv_transpose2d.backward(dy, c)[1] / dy.shape[0]
            ),
        },
    ),
)
