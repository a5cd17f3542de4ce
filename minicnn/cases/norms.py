"""Rows of the normalisations.

With dy = 1 or dy = y the gradient of batch_norm is 0, so dy must be random: a backward that returns zeros is listed
among the wrong ones to show that it is.
"""

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.cases.windows import replaced
from minicnn.ops import batch_norm, batch_norm_inference, group_norm, layer_norm


def norm(*shape: int, **kwargs) -> Sample:
    return Sample(arrays(x=normal(*shape, loc=1, scale=2), gamma=normal(shape[-1]), beta=normal(shape[-1])), kwargs)


def stored(*shape: int, **kwargs) -> Sample:
    C = shape[-1]
    statistics = {"mean": normal(C), "var": lambda rng: rng.uniform(0.5, 2, C)}
    return Sample(arrays(x=normal(*shape), gamma=normal(C), beta=normal(C), **statistics), kwargs)


def six(dy, c, *, direct=1.0, through_var=1.0, through_mean=1.0, gamma=None):
    """batch_norm's gradients as the six of (6)-(11), with factors that should be 1 on the three paths to x."""
    axes, m = tuple(range(dy.ndim - 1)), dy.size // dy.shape[-1]
    r, deviation = (c.var + c.eps) ** -0.5, c.x - c.mean
    dx_hat = (c.gamma if gamma is None else gamma) * dy
    dvar = (dx_hat * deviation * -0.5 * r**3).sum(axes)
    dmean = (-r * dx_hat).sum(axes)
    dx = direct * dx_hat * r + through_var * dvar * 2 / m * deviation + through_mean * dmean / m
    return replaced(batch_norm.backward(dy, c), 0, dx)


def gamma_outside(op):
    """The gradients of a norm with γ taken out of sums along which it varies, as if it were batch_norm's."""

    def wrong(dy, c):
        dx = c.gamma * op.backward(dy, c._replace(gamma=np.ones_like(c.gamma)))[0]
        return replaced(op.backward(dy, c), 0, dx)

    return wrong


def statistics_constant(op):
    """The gradients of layer_norm or group_norm with the direct path to x alone."""

    def wrong(dy, c):
        r = (c.var + c.eps) ** -0.5  # (..., 1), or (N, 1, G, 1) for groups of channels
        if op is group_norm:
            per_channel = np.repeat(r[:, 0, :, 0], dy.shape[-1] // r.shape[2], -1)
            r = per_channel.reshape(len(dy), *[1] * (dy.ndim - 2), -1)
        return replaced(op.backward(dy, c), 0, c.gamma * dy * r)

    return wrong


def in_other_groups(dy, c):
    """The dx of groups of channels c, c + G, c + 2G .. in place of neighbours."""
    order = np.arange(dy.shape[-1]).reshape(-1, c.mean.shape[2]).T.ravel()
    return replaced(group_norm.backward(dy, c), 0, group_norm.backward(dy[..., order], c)[0][..., np.argsort(order)])


def first(dy):
    """1 for the first sample, 0 for the others, of a shape that broadcasts against dy."""
    return (np.arange(len(dy)) == 0).reshape(-1, *[1] * (dy.ndim - 1))


ERRORS = (
    Error({"gamma": np.ones(5)}, r"x has 6 channels .* but gamma has shape \(5,\)"),
    Error({"beta": np.ones((6, 1))}, r"x has 6 channels .* but beta has shape \(6, 1\)"),
    Error({"x": np.ones(6)}, r"x has shape \(6,\), wanted at least two axes \(\.\.\., C\), channels last"),
    Error({"x": np.ones((4, 6), "uint8")}, r"x is uint8, wanted floating-point", TypeError),
    Error({"gamma": [1.0] * 6}, r"gamma is a list, wanted a NumPy or CuPy array", TypeError),
)

CASES = (
    Case(
        "batch_norm",
        samples=(norm(4, 3, 5, 6), norm(7, 2, 3, eps=0.1), norm(2, 3, 4, 5, 2)),
        errors=(
            *ERRORS,
            Error({"x": np.ones((1, 6))}, r"x \(1, 6\) has 1 value\(s\) a channel, wanted at least 2"),
        ),
        wrong={
            "the direct path alone": lambda dy, c: six(dy, c, through_var=0, through_mean=0),
            "path through μ dropped": lambda dy, c: six(dy, c, through_mean=0),
            "path through σ² dropped": lambda dy, c: six(dy, c, through_var=0),
            "factor −½ lost": lambda dy, c: six(dy, c, through_var=-2),
            "γ forgotten": lambda dy, c: six(dy, c, gamma=1.0),
            "L fixed to a squared error": lambda dy, c: six(2 * (c.x - c.mean), c),
            "zeros": lambda dy, c: replaced(batch_norm.backward(dy, c), 0, np.zeros_like(dy)),
            "dγ of x in place of x̂": lambda dy, c: replaced(
                batch_norm.backward(dy, c), 1, (dy * c.x).sum(tuple(range(dy.ndim - 1)))
            ),
        },
        empty=r"has 0 value\(s\) a channel, wanted at least 2",
    ),
    Case(
        "batch_norm_inference",
        samples=(stored(4, 3, 5, 6), stored(7, 3, eps=0.1), stored(1, 4)),
        errors=(
            *ERRORS,
            Error({"mean": np.ones(5)}, r"x has 6 channels .* but mean has shape \(5,\)"),
            Error({"var": np.ones(1)}, r"x has 6 channels .* but var has shape \(1,\)"),
        ),
        wrong={
            "that of training": six,
            "σ² + ε not under a root": lambda dy, c: replaced(
                batch_norm_inference.backward(dy, c), 0, c.gamma * dy / (c.var + c.eps)
            ),
            "ε forgotten": lambda dy, c: batch_norm_inference.backward(dy, c._replace(eps=0.0)),
            "dγ of x in place of x̂": lambda dy, c: replaced(
                batch_norm_inference.backward(dy, c), 1, (dy * c.x).sum(tuple(range(dy.ndim - 1)))
            ),
        },
    ),
    Case(
        "layer_norm",
        samples=(norm(4, 3, 5, 6), norm(7, 3, eps=0.1), norm(2, 9)),
        errors=(
            *ERRORS,
            Error(
                {"x": np.ones((4, 0)), "gamma": np.ones(0), "beta": np.ones(0)},
                r"x \(4, 0\) has no channels, wanted at least 1",
            ),
        ),
        wrong={
            "the direct path alone": statistics_constant(layer_norm),
            "γ outside the sums": gamma_outside(layer_norm),
            "γ forgotten": lambda dy, c: replaced(
                layer_norm.backward(dy, c), 0, layer_norm.backward(dy, c._replace(gamma=np.ones_like(c.gamma)))[0]
            ),
            "dβ averaged": lambda dy, c: replaced(layer_norm.backward(dy, c), 2, dy.mean(tuple(range(dy.ndim - 1)))),
        },
    ),
    Case(
        "group_norm",
        samples=(
            norm(4, 3, 5, 6, groups=3),
            norm(2, 3, 4, 6, groups=2, eps=0.1),
            norm(3, 5, 2, 4, groups=4),
            norm(3, 4, 2, groups=1),
            norm(4, 6, groups=2),
        ),
        errors=(
            *ERRORS,
            Error({"groups": 4}, r"groups=4 must divide the 6 channels of x \(4, 3, 5, 6\)"),
            Error({"groups": 0}, r"groups=0 must divide"),
            Error({"x": np.ones((4, 0, 5, 6))}, r"x \(4, 0, 5, 6\) has no values in a group, wanted at least 1"),
        ),
        wrong={
            "the direct path alone": statistics_constant(group_norm),
            "γ outside the sums": gamma_outside(group_norm),
            "other groups": in_other_groups,
            "dγ of the first sample alone": lambda dy, c: replaced(
                group_norm.backward(dy, c), 1, group_norm.backward(dy * first(dy), c)[1]
            ),
        },
    ),
)
