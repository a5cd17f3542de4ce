"""Rows of the ops that are several ops in one pass."""

from typing import Any

import numpy as np

from minicnn.cases.case import Case, Error, Sample, arrays, normal
from minicnn.cases.windows import distinct, replaced
from minicnn.ops import conv2d_act, epilogue
from minicnn.ops.epilogue import Spec


def apart(*shape: int):
    """rng -> numbers of both signs, no two near each other and none near 0."""
    return lambda rng: distinct(*shape)(rng) + 0.3 / int(np.prod(shape))


def after(*shape: int, alpha: tuple[int, ...] | None = None, **parts) -> Sample:
    """An epilogue of these parts, with batch statistics."""
    norm = normal(shape[-1]) if "norm" in parts else None
    slopes = normal(*alpha) if alpha else None
    inputs = arrays(x=apart(*shape), alpha=slopes, gamma=norm, beta=norm, mean=None, var=None)
    return Sample(inputs, {"spec": Spec(**parts), "key": 3})


def conv(x, w, b=True, scale=False, **kwargs) -> Sample:
    C = normal(w[3])
    return Sample(arrays(x=normal(*x), w=normal(*w), b=C if b else None, scale=C if scale else None), kwargs)


def epilogue_with(dy, c, **changes):
    """The gradients of epilogue as if its parts were others."""
    return epilogue.backward(dy, c._replace(spec=c.spec._replace(**changes)))


def act_with(dy, c, **changes):
    """The gradients of conv2d_act as if the cache had said otherwise."""
    return conv2d_act.backward(dy, c._replace(**changes))


LEAKY: dict[str, Any] = {"activation": "leaky_relu", "slope": 0.2}
HALVES: dict[str, Any] = {"pool": "max", "kernel": (2, 2), "stride": (2, 2)}
BN = np.ones(3)

CASES = (
    Case(
        "epilogue",
        samples=(
            after(2, 6, 7, 3, **LEAKY, norm="after", **HALVES, p=0.3, channelwise=True),
            after(2, 6, 4, 3, activation="relu", norm="before", **HALVES),
            after(2, 5, 6, 2, alpha=(5, 6, 2), activation="prelu", margins=(2, 2, 2, 2), pool="max", kernel=(5, 5)),
            after(2, 5, 6, 2, alpha=(2,), activation="prelu", margins=(1, 0, 2, 1), pool="avg", kernel=(3, 2), p=0.4),
            after(3, 7, 6, 2, activation="relu", pool="max", kernel=(3, 2), stride=(2, 1), padding=(1, 1), p=0.5),
            after(
                2, 7, 6, 2, **LEAKY, pool="avg", kernel=(3, 3), stride=(2, 2), padding=(1, 1), count_include_pad=False
            ),
            after(2, 6, 7, 2, norm="after", pool="avg", kernel=(3, 3), stride=(2, 2), ceil_mode=True),
            after(7, 2, 1, 5, alpha=(5,), activation="prelu", norm="before", p=0.3),
            after(7, 5, activation="relu", p=0.5),
        ),
        errors=(
            Error({"spec": Spec(activation="gelu")}, r"activation is 'gelu', wanted one of none, relu, leaky_relu"),
            Error({"spec": Spec(norm="twice")}, r"norm is 'twice', wanted one of none, before, after"),
            Error({"spec": Spec(pool="sum")}, r"pool is 'sum', wanted one of none, max, avg"),
            Error({"alpha": BN}, r"alpha is given, wanted None with Spec\(activation='leaky_relu'"),
            Error({"gamma": None}, r"gamma is None, wanted an array with Spec\("),
            Error({"x": np.ones((2, 6, 7, 3), "uint8")}, r"epilogue: x is uint8, wanted floating-point", TypeError),
            Error({"mean": BN}, r"mean and var go together, and with a norm"),
        ),
        wrong={
            "slope forgotten": lambda dy, c: epilogue_with(dy, c, slope=0.0),
            "statistics constant": lambda dy, c: epilogue.backward(dy, c._replace(batch_statistics=False)),
            "norm on the other side": lambda dy, c: epilogue_with(
                dy, c, norm={"before": "after", "after": "before"}.get(c.spec.norm, "none")
            ),
            "sign of x for that of B(x)": lambda dy, c: epilogue.backward(
                dy, c._replace(beta=None if c.beta is None else c.beta + 9)
            ),
            "margin on the other side": lambda dy, c: epilogue_with(
                dy, c, margins=tuple(c.spec.margins[k] for k in (1, 0, 3, 2))
            ),
            "another mask": lambda dy, c: epilogue.backward(dy, c._replace(key=4)),
        },
        empty=r"has 0 value\(s\) a channel, wanted at least 2",
    ),
    Case(
        "conv2d_act",
        samples=(
            conv((2, 7, 6, 3), (3, 2, 3, 4), scale=True, **LEAKY, stride=(2, 1), padding=(1, 0)),
            conv((2, 5, 5, 2), (3, 3, 2, 3), b=False, activation="relu", padding=1),
            conv((2, 6, 5, 6), (2, 3, 2, 6), scale=True, activation="relu", groups=3, dilation=(2, 1)),
            conv((2, 4, 5, 2), (1, 1, 2, 3), b=False, scale=True),
        ),
        errors=(
            Error({"activation": "prelu"}, r"activation is 'prelu' with slope 0.2, wanted one of none, relu, leaky_"),
            Error({"slope": 0.0}, r"wanted one of none, relu, leaky_relu and a slope above 0"),
            Error({"scale": np.ones(3)}, r"scale has shape \(3,\), wanted \(4,\), one for each channel of y"),
            Error({"scale": [1.0] * 4}, r"scale is a list, wanted a NumPy or CuPy array", TypeError),
            Error({"w": np.ones((3, 3, 5, 4))}, r"x \(2, 7, 6, 3\) .* does not fit w \(3, 3, 5, 4\)"),
        ),
        wrong={
            "slope forgotten": lambda dy, c: act_with(dy, c, slope=0.0),
            "activation forgotten": lambda dy, c: act_with(dy, c, activation="none"),
            "scale forgotten in dw": lambda dy, c: replaced(
                conv2d_act.backward(dy, c), 1, act_with(dy, c, scale=None)[1]
            ),
            "ds of y for x * w": lambda dy, c: (*conv2d_act.backward(dy, c)[:3], (dy * c.y).sum((0, 1, 2))),
        },
    ),
)
