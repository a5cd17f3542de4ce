"""Rows of the ops of densely connected networks."""

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.cases.windows import replaced
from minicnn.ops import dense_block


def block(x: tuple[int, ...], layers: int, growth: int, width: int) -> Sample:
    """A dense block of so many layers."""
    inputs, C = {"x": normal(*x)}, x[3]
    for k in range(1, layers + 1):
        inputs |= {f"gamma1_{k}": normal(C, loc=1, scale=0.2), f"beta1_{k}": normal(C)}
        inputs |= {f"w1_{k}": normal(1, 1, C, width), f"gamma2_{k}": normal(width, loc=1, scale=0.2)}
        inputs |= {f"beta2_{k}": normal(width), f"w2_{k}": normal(3, 3, width, growth)}
        C += growth
    return Sample(arrays(**inputs))


def without_first_layer(dy, c):
    """The gradients as if the second layer did not see what the first one made."""
    C = c.parameters[0].shape[0]
    w1 = c.parameters[8].copy()
    w1[:, :, C:] = 0
    return dense_block.backward(dy, c._replace(parameters=(*c.parameters[:8], w1, *c.parameters[9:])))


def of_batch(c):
    """The batch's statistics, as if they had been given."""
    channels = [gamma.shape[0] for gamma in c.parameters[::6]]
    moments = [(c.mean[:n], c.var[:n], c.hidden_mean[k], c.hidden_var[k]) for k, n in enumerate(channels)]
    return tuple(moment for layer in moments for moment in layer)


CASES = (
    Case(
        "dense_block",
        samples=(block((5, 3, 3, 2), 2, 1, 2), block((6, 4, 3, 2), 1, 2, 3), block((9, 1, 2, 2), 3, 1, 2)),
        errors=(
            Error({"x": np.ones((3, 3, 2))}, r"dense_block: x has shape \(3, 3, 2\), wanted four axes"),
            Error({"x": np.ones((3, 3, 2, 2), int)}, r"dense_block: x is int64, wanted floating-point", TypeError),
            Error({"w1_2": np.ones((1, 1, 2, 2))}, r"w1 of layer 2 has shape \(1, 1, 2, 2\), wanted \(1, 1, 3, 2\)"),
            Error({"beta2_1": np.ones(3)}, r"dense_block: beta2 of layer 1 has shape \(3,\), wanted \(2,\)"),
            Error({"w2_1": [1.0]}, r"dense_block: w2 is a list, wanted a NumPy or CuPy array", TypeError),
            Error({"statistics": ()}, r"dense_block: 0 statistics, wanted mean1, var1, mean2, var2 of each layer"),
        ),
        wrong={
            "dx without the layers": lambda dy, c: replaced(
                dense_block.backward(dy, c), 0, dy[..., : c.parameters[0].shape[0]]
            ),
            "a layer sees x alone": lambda dy, c: (
                without_first_layer(dy, c) if len(c.parameters) > 6 else dense_block.backward(2 * dy, c)
            ),
            "statistics constant": lambda dy, c: dense_block.backward(dy, c._replace(statistics=of_batch(c))),
        },
        empty=r"has 0 value\(s\) a channel, wanted at least 2",
    ),
)
