"""Rows of softmax, of the losses on logits, and of dropout."""

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.ops import cross_entropy, dropout


def classes(n: int, k: int):
    """rng -> n labels in 0..k-1."""
    return lambda rng: rng.integers(0, k, n)


def distributions(n: int, k: int):
    """rng -> n probability vectors over k classes."""
    return lambda rng: rng.dirichlet(np.ones(k), n)


def hard(n: int, k: int, **kwargs) -> Sample:
    return Sample(arrays(logits=normal(n, k, scale=2), target=classes(n, k)), kwargs)


def soft(n: int, k: int, **kwargs) -> Sample:
    return Sample(arrays(logits=normal(n, k, scale=2), target=distributions(n, k)), kwargs)


def one_index_alone(dy, c):
    """The report's slip: L taken for -t_j ln ŷ_j, index by index, which gives t_j (ŷ_j - 1)."""
    return (c.q * (np.exp(c.log_p) - 1) * np.reshape(dy / c.divisor, (-1, 1)),)


WEIGHT = np.array([0.5, 2.0, 1.0, 0.1, 3.0])
NO_SCORES = Error({"x": np.ones((3, 0))}, r"x has shape \(3, 0\), wanted \(\.\.\., K\) with K >= 1")
NOT_FLOAT = Error({"x": np.ones((3, 4), "int64")}, r"x is int64, wanted floating-point", TypeError)

CASES = (
    Case(
        "softmax",
        samples=(Sample(arrays(x=normal(4, 5))), Sample(arrays(x=normal(2, 3, 4, scale=3)))),
        errors=(NO_SCORES, NOT_FLOAT),
        wrong={
            "diagonal alone": lambda dy, c: (c.y * (1 - c.y) * dy,),
            "as if joined with the loss": lambda dy, c: (c.y * dy,),
            "sum over the batch": lambda dy, c: (c.y * (dy - (dy * c.y).sum(0)),),
        },
    ),
    Case(
        "log_softmax",
        samples=(Sample(arrays(x=normal(4, 5))), Sample(arrays(x=normal(2, 3, 4, scale=3)))),
        errors=(NO_SCORES, NOT_FLOAT),
        wrong={
            "normalising term dropped": lambda dy, c: (dy,),
            "mean for sum": lambda dy, c: (dy - np.exp(c.y) * dy.mean(-1, keepdims=True),),
        },
    ),
    Case(
        "cross_entropy",
        samples=(
            hard(6, 5),
            hard(6, 5, weight=WEIGHT, label_smoothing=0.1),
            hard(4, 5, weight=WEIGHT, reduction="sum"),
            hard(4, 3, reduction="none", label_smoothing=0.3),
            soft(4, 5),
            soft(5, 5, weight=WEIGHT, label_smoothing=0.2),
            soft(3, 4, reduction="none"),
            soft(3, 4, reduction="sum"),
        ),
        errors=(
            Error({"logits": np.ones((6, 5, 2))}, r"logits have shape \(6, 5, 2\), wanted \(N, K\)"),
            Error({"logits": np.ones((6, 5), int)}, r"logits is int64, wanted floating-point", TypeError),
            Error({"target": np.zeros(5, int)}, r"integer target has shape \(5,\), wanted \(6,\)"),
            Error({"target": np.full(6, 5)}, r"target has classes 5\.\.5, wanted 0\.\.4"),
            Error({"target": np.full(6, -1)}, r"target has classes -1\.\.-1, wanted 0\.\.4"),
            Error({"target": np.ones((6, 4))}, r"target has shape \(6, 4\), wanted \(6,\) integers or \(6, 5\)"),
            Error({"weight": np.ones(4)}, r"weight has shape \(4,\), wanted \(5,\)"),
            Error({"label_smoothing": 1.5}, r"label_smoothing is 1.5, wanted 0\.\.1"),
            Error({"label_smoothing": -0.5}, r"label_smoothing is -0.5, wanted 0\.\.1"),
            Error({"reduction": "avg"}, r"reduction 'avg' is none of mean, sum, none"),
        ),
        wrong={
            "one index alone": one_index_alone,
            "targets not weighted": lambda dy, c: cross_entropy.backward(
                dy, c._replace(q=c.q / c.q.sum(-1, keepdims=True))
            ),
            "not averaged": lambda dy, c: cross_entropy.backward(dy, c._replace(divisor=1.0)),
            "sign": lambda dy, c: (-cross_entropy.backward(dy, c)[0],),
        },
        batch=("logits", "target"),
        empty=r"the mean over 0 rows is not defined",
    ),
    Case(
        "dropout",
        samples=(
            Sample(arrays(x=normal(4, 5, 3)), {"p": 0.3, "rng": 7}),
            Sample(arrays(x=normal(3, 2, 4, 5)), {"p": 0.5, "rng": 2**63 + 11, "channelwise": True}),
        ),
        errors=(
            Error({"p": 1.2}, r"p is 1.2, wanted a probability in 0\.\.1"),
            Error({"p": -0.2}, r"p is -0.2, wanted a probability in 0\.\.1"),
            Error({"rng": None}, r"rng is a NoneType, wanted a numpy.random.Generator or an int key", TypeError),
            Error({"x": np.ones(4), "channelwise": True}, r"channelwise needs \(N, \.\.\., C\), x has shape \(4,\)"),
            NOT_FLOAT,
        ),
        wrong={
            "another mask": lambda dy, c: dropout.backward(dy, c._replace(key=c.key + 1)),
            "not scaled": lambda dy, c: (dropout.backward(dy, c)[0] * (1 - c.p),),
            "mask dropped": lambda dy, c: (dy / (1 - c.p),),
        },
    ),
)
