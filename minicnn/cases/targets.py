"""Rows of the losses that compare an output with a target element by element."""

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.ops import binary_cross_entropy, mse
from minicnn.ops.sigmoid import logistic


def probabilities(*shape: int):
    """rng -> numbers in 0..1, some of them 0 or 1."""
    return lambda rng: rng.uniform(-0.3, 1.3, shape).clip(0, 1)


def squared(*shape: int, **kwargs) -> Sample:
    return Sample(arrays(x=normal(*shape), target=normal(*shape)), kwargs)


def questions(*shape: int, **kwargs) -> Sample:
    return Sample(arrays(logits=normal(*shape, scale=3), target=probabilities(*shape)), kwargs)


def samples(make) -> tuple[Sample, ...]:
    return make(4, 5), make(3, 2, 4, reduction="sum"), make(2, 7, reduction="none"), make(3, reduction="mean")


def errors(name: str) -> tuple[Error, ...]:
    return (
        Error({name: np.ones((4, 5), int)}, rf"{name} is int64, wanted floating-point", TypeError),
        Error({"target": np.ones((4, 5), int)}, r"target is int64, wanted floating-point", TypeError),
        Error({"target": [1.0]}, r"target is a list, wanted a NumPy or CuPy array", TypeError),
        Error(
            {"target": np.ones((4, 1))}, rf"{name} has shape \(4, 5\) but target has shape \(4, 1\), wanted one shape"
        ),
        Error({"reduction": "avg"}, r"reduction 'avg' is none of mean, sum, none"),
    )


CASES = (
    Case(
        "mse",
        samples=samples(squared),
        errors=errors("x"),
        wrong={
            "factor 2 lost": lambda dy, c: (mse.backward(dy, c)[0] / 2,),
            "not averaged": lambda dy, c: mse.backward(dy, c._replace(reduction="sum")),
            "averaged over the batch alone": lambda dy, c: (mse.backward(dy, c)[0] * c.x[0].size,),
            "sign": lambda dy, c: mse.backward(dy, c._replace(x=c.target, target=c.x)),
            "dL taken for 1": lambda dy, c: mse.backward(np.ones_like(dy), c),
        },
        batch=("x", "target"),
        empty=r"the mean over 0 elements, x \(0, .*\), is not defined",
    ),
    Case(
        "binary_cross_entropy",
        samples=samples(questions),
        errors=errors("logits"),
        wrong={
            "σ forgotten": lambda dy, c: mse.backward(dy / 2, mse.Cache(*c)),
            "σ differentiated again": lambda dy, c: (
                binary_cross_entropy.backward(dy, c)[0] * logistic(c.logits) * logistic(-c.logits),
            ),
            "yes alone": lambda dy, c: (binary_cross_entropy.backward(dy, c)[0] * c.target,),
            "not averaged": lambda dy, c: binary_cross_entropy.backward(dy, c._replace(reduction="sum")),
            "sign": lambda dy, c: (-binary_cross_entropy.backward(dy, c)[0],),
        },
        batch=("logits", "target"),
        empty=r"the mean over 0 elements, logits \(0, .*\), is not defined",
    ),
)
