"""Rows of the elementwise activations.

Their inputs keep away from 0, where a rectifier has no derivative.
"""

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.ops import elu, gelu, prelu
from minicnn.ops.sigmoid import logistic


def away_from_zero(*shape: int):
    """rng -> numbers of both signs with 0.1 <= |x| <= 3."""
    return lambda rng: rng.uniform(0.1, 3, shape) * rng.choice([-1.0, 1.0], shape)


def pointwise(**kwargs) -> tuple[Sample, Sample]:
    """An image and a matrix."""
    return Sample(arrays(x=away_from_zero(3, 5, 4, 2)), kwargs), Sample(arrays(x=away_from_zero(4, 7)), kwargs)


def with_slopes(x: tuple[int, ...], alpha: tuple[int, ...]) -> Sample:
    return Sample(arrays(x=away_from_zero(*x), alpha=normal(*alpha)))


def prelu_dalpha(dy, c, terms):
    """The gradients of prelu with dα summed from these terms and not from min(x, 0) dy."""
    summing = c._replace(x=-np.ones_like(terms))  # min(x, 0) = -1
    return prelu.backward(dy, c)[0], prelu.backward(-terms, summing)[1]


NOT_FLOAT = Error({"x": np.ones((2, 3), "uint8")}, r"x is uint8, wanted floating-point", TypeError)
NOT_ARRAY = Error({"x": [1.0, 2.0]}, r"x is a list, wanted a NumPy or CuPy array", TypeError)

CASES = (
    Case(
        "relu",
        samples=pointwise(),
        errors=(NOT_FLOAT, NOT_ARRAY),
        wrong={
            "mask forgotten": lambda dy, c: (dy,),
            "sides exchanged": lambda dy, c: (np.where(c.y > 0, 0, dy),),
            "y for its derivative": lambda dy, c: (dy * c.y,),
        },
    ),
    Case(
        "leaky_relu",
        samples=(
            Sample(arrays(x=away_from_zero(3, 5, 4, 2)), {"slope": 0.2}),
            Sample(arrays(x=away_from_zero(4, 7)), {"slope": -0.5}),
        ),
        errors=(NOT_FLOAT,),
        wrong={
            "slope forgotten": lambda dy, c: (np.where(c.x > 0, dy, 0),),
            "sides exchanged": lambda dy, c: (np.where(c.x > 0, c.slope * dy, dy),),
        },
    ),
    Case(
        "prelu",
        samples=(
            with_slopes((3, 5, 4, 2), (2,)),
            with_slopes((3, 5, 4, 2), (1,)),
            with_slopes((3, 5, 4, 2), (5, 4, 2)),
            with_slopes((3, 5, 4, 2), (5, 1, 2)),
            with_slopes((4, 7), (7,)),
        ),
        errors=(
            NOT_FLOAT,
            NOT_ARRAY,
            Error({"alpha": np.ones(2, int)}, r"alpha is int64, wanted floating-point", TypeError),
            Error({"alpha": np.ones(3)}, r"alpha has shape \(3,\), wanted one that broadcasts to \(5, 4, 2\)"),
            Error({"alpha": np.ones((3, 5, 4, 2))}, r"alpha has shape \(3, 5, 4, 2\), wanted one that broadcasts to"),
            Error({"x": np.ones((3, 5, 1))}, r"alpha has shape \(2,\), wanted one that broadcasts to \(5, 1\)"),
        ),
        wrong={
            "slope forgotten": lambda dy, c: (np.where(c.x > 0, dy, 0), prelu.backward(dy, c)[1]),
            "dα of both sides": lambda dy, c: prelu_dalpha(dy, c, c.x * dy),
            "dα without x": lambda dy, c: prelu_dalpha(dy, c, np.where(c.x > 0, 0, dy)),
            "dα of the first sample alone": lambda dy, c: prelu_dalpha(
                dy, c, np.minimum(c.x, 0) * dy * (np.arange(len(dy)) == 0).reshape(-1, *[1] * (dy.ndim - 1))
            ),
        },
    ),
    Case(
        "elu",
        samples=(*pointwise(alpha=0.7), *pointwise(), *pointwise(alpha=-1.3)),
        errors=(NOT_FLOAT, NOT_ARRAY),
        wrong={
            "α forgotten": lambda dy, c: elu.backward(dy, c._replace(alpha=1.0)),
            "y for its derivative": lambda dy, c: (np.where(c.x > 0, dy, c.alpha * np.expm1(c.x) * dy),),
            "sides exchanged": lambda dy, c: (np.where(c.x > 0, c.alpha * np.exp(c.x) * dy, dy),),
        },
    ),
    Case(
        "gelu",
        samples=(*pointwise(), *pointwise(approximate=True)),
        errors=(
            NOT_FLOAT,
            NOT_ARRAY,
            Error({"approximate": "tanh"}, r"approximate is 'tanh', wanted a bool", TypeError),
        ),
        wrong={
            "x φ dropped": lambda dy, c: (dy * gelu.forward(c.x, approximate=c.approximate)[0] / c.x,),
            "Φ dropped": lambda dy, c: (
                gelu.backward(dy, c)[0] - dy * gelu.forward(c.x, approximate=c.approximate)[0] / c.x,
            ),
            "the gradient of the other form": lambda dy, c: gelu.backward(
                dy, c._replace(approximate=not c.approximate)
            ),
        },
    ),
    Case(
        "silu",
        samples=pointwise(),
        errors=(NOT_FLOAT, NOT_ARRAY),
        wrong={
            "x held constant": lambda dy, c: (dy * c.x * logistic(c.x) * (1 - logistic(c.x)),),
            "σ held constant": lambda dy, c: (dy * logistic(c.x),),
            "1 − σ for σ": lambda dy, c: (dy * logistic(c.x) * (1 + c.x * logistic(c.x)),),
        },
    ),
    Case(
        "sigmoid",
        samples=pointwise(),
        errors=(NOT_FLOAT, NOT_ARRAY),
        wrong={
            "1 − y dropped": lambda dy, c: (dy * c.y,),
            "taken at y in place of x": lambda dy, c: (dy * logistic(c.y) * (1 - logistic(c.y)),),
            "sign": lambda dy, c: (dy * c.y * (c.y - 1),),
        },
    ),
    Case(
        "tanh",
        samples=pointwise(),
        errors=(NOT_FLOAT, NOT_ARRAY),
        wrong={
            "square lost": lambda dy, c: (dy * (1 - c.y),),
            "taken at y in place of x": lambda dy, c: (dy * (1 - np.tanh(c.y) ** 2),),
            "that of a sigmoid": lambda dy, c: (dy * c.y * (1 - c.y),),
        },
    ),
    Case(
        "softplus",
        samples=(*pointwise(), Sample(arrays(x=normal(2, 5, scale=30)))),
        errors=(NOT_FLOAT, NOT_ARRAY),
        wrong={
            "sides exchanged": lambda dy, c: (dy * logistic(-c.x),),
            "differentiated twice": lambda dy, c: (dy * logistic(c.x) * (1 - logistic(c.x)),),
            "that of a rectifier": lambda dy, c: (np.where(c.x > 0, dy, 0),),
        },
    ),
)
