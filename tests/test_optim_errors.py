"""Every message of the optimisers, the clipping and the averages."""

import numpy as np
import pytest

from minicnn import optim
from minicnn.nn.parameter import Parameter
from minicnn.optim.base import Optimizer

P = Parameter(np.zeros(2))
BAD = [
    ("SGD", ([],), {}, ValueError, r"SGD: params is empty; wanted at least one Parameter"),
    ("SGD", ([{"params": []}],), {}, ValueError, r"SGD: params is empty"),
    ("SGD", ([P, P],), {}, ValueError, r"SGD: a Parameter of shape \(2,\) is given twice"),
    ("SGD", ([{"params": [P]}, {"params": [P]}],), {}, ValueError, r"given twice"),
    ("SGD", ([np.zeros(2)],), {}, TypeError, r"SGD: params holds a numpy.ndarray; wanted Parameters"),
    (
        "SGD",
        (P,),
        {},
        TypeError,
        r"SGD: params is a Parameter; wanted an iterable of Parameters \(model.parameters\(\)\)",
    ),
    ("SGD", ({"params": [P]},), {}, TypeError, r"SGD: params is a dict; wanted an iterable"),
    (
        "SGD",
        ([{"params": [P]}, P],),
        {},
        TypeError,
        r"a parameter group is a minicnn.nn.*Parameter; wanted a dict",
    ),
    ("SGD", ([{"lr": 1}],), {}, TypeError, r"a parameter group is a dict with keys \['lr'\]; wanted a dict \{'params'"),
    (
        "SGD",
        ([{"params": [P], "beta": 1}],),
        {},
        ValueError,
        r"unknown or missing option beta; wanted lr, momentum, nest",
    ),
    ("SGD", ([{"params": [P], "lr": -1}],), {}, ValueError, r"SGD: lr is -1; wanted a finite number, 0 or more"),
    ("SGD", ([P],), {"lr": -0.1}, ValueError, r"SGD: lr is -0.1; wanted a finite number, 0 or more"),
    ("SGD", ([P],), {"lr": float("nan")}, ValueError, r"SGD: lr is nan; wanted a finite"),
    ("SGD", ([P],), {"lr": "0.1"}, TypeError, r"SGD: lr is '0.1'; wanted a finite number"),
    ("SGD", ([P],), {"momentum": -1}, ValueError, r"SGD: momentum is -1; wanted"),
    ("SGD", ([P],), {"dampening": float("inf")}, ValueError, r"SGD: dampening is inf; wanted a finite number"),
    ("SGD", ([P], 0.1, 0.9, 0, 1e-4), {}, TypeError, r"SGD: nesterov is 0; wanted True or False"),  # PyTorch's order
    (
        "SGD",
        ([P],),
        {"nesterov": True},
        ValueError,
        r"SGD: nesterov with momentum 0.0 and dampening 0.0; wanted momentum",
    ),
    (
        "SGD",
        ([P],),
        {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
        ValueError,
        r"and dampening 0.1; wanted mom",
    ),
    ("Adam", ([P],), {"betas": (0.9, 1.0)}, ValueError, r"Adam: betas\[1\] is 1.0; wanted a number in \[0, 1\)"),
    ("Adam", ([P],), {"betas": (-0.1, 0.9)}, ValueError, r"Adam: betas\[0\] is -0.1; wanted"),
    ("Adam", ([P],), {"betas": 0.9}, TypeError, r"Adam: betas is 0.9; wanted a pair of numbers"),
    ("Adam", ([P],), {"eps": -1e-8}, ValueError, r"Adam: eps is -1e-08; wanted"),
    ("AdamW", ([P],), {"weight_decay": -1}, ValueError, r"AdamW: weight_decay is -1; wanted"),
    ("RMSprop", ([P],), {"alpha": 1.1}, ValueError, r"RMSprop: alpha is 1.1; wanted a number in \[0, 1\]"),
    ("Adagrad", ([P],), {"lr_decay": -1}, ValueError, r"Adagrad: lr_decay is -1; wanted"),
    ("Adagrad", ([P],), {"initial_accumulator_value": -1}, ValueError, r"initial_accumulator_value is -1; wanted"),
    ("Adadelta", ([P],), {"rho": -0.1}, ValueError, r"Adadelta: rho is -0.1; wanted a number in \[0, 1\]"),
    ("EMA", ([],), {}, ValueError, r"EMA: params is empty; wanted at least one Parameter"),
    ("EMA", ([P, P],), {}, ValueError, r"EMA: a Parameter of shape \(2,\) is given twice"),
    ("EMA", (P,), {}, TypeError, r"EMA: got a Parameter; wanted a Module or an iterable of Parameters"),
    ("EMA", ([P],), {"decay": 1}, ValueError, r"EMA: decay is 1; wanted a number in \[0, 1\)"),
    ("clip_grad_norm_", ([P], -1), {}, ValueError, r"clip_grad_norm_: max_norm is -1; wanted a number, 0 or more"),
    ("clip_grad_norm_", ([P], 1, 0), {}, ValueError, r"clip_grad_norm_: norm_type is 0; wanted a number above 0"),
    (
        "clip_grad_norm_",
        ([1.0], 1),
        {},
        TypeError,
        r"clip_grad_norm_: params holds a builtins.float; wanted Parameters",
    ),
]


@pytest.mark.parametrize(("name", "args", "options", "error", "message"), BAD)
def test_bad_arguments(name, args, options, error, message):
    with pytest.raises(error, match=message):
        getattr(optim, name)(*args, **options)


def changed(path, value):
    """The state of an Adam over shapes (2,) and (3,), with one entry replaced (or removed, for None)."""
    sd = adam().state_dict()
    *way, last = path
    place = sd
    for key in way:
        place = place[key]
    place[last] = value
    if value is None:
        del place[last]
    return sd


def adam():
    params = [Parameter(np.zeros(2)), Parameter(np.zeros(3))]
    for p in params:
        p.grad = np.ones(p.data.shape)
    optimizer = optim.Adam(params)
    optimizer.step()
    return optimizer


BAD_STATES = [
    (
        ("state",),
        None,
        r"Adam.load_state_dict: got a dict with keys \['param_groups'\]; wanted a dict with 'state' and",
    ),
    (("param_groups",), [], r"got groups of \[\] parameters; this optimiser has groups of \[2\]"),
    (("param_groups", 0, "params"), [0], r"got groups of \[1\] parameters; this optimiser has groups of \[2\]"),
    (("param_groups", 0, "momentum"), 0.9, r"Adam: unknown or missing option momentum; wanted lr, betas"),
    (("param_groups", 0, "eps"), None, r"Adam: unknown or missing option eps; wanted lr, betas"),
    (("param_groups", 0, "lr"), -1.0, r"Adam: lr is -1.0; wanted"),
    (("state", 7), {}, r"got state of parameter 7; the groups name \[0, 1\]"),
    (("state", 1, "sum"), np.zeros(3), r"parameter 1: unknown state sum; Adam has step, exp_avg, exp_avg_sq, max_exp"),
    (("state", 1, "exp_avg"), np.zeros(2), r"parameter 1: exp_avg has shape \(2,\); wanted \(3,\)"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_STATES)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(path, value, message):
    optimizer = adam()
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(changed(path, value))
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert [s["step"] for s in after["state"].values()] == [1, 1]


def test_an_optimiser_without_an_update_says_so():
    p = Parameter(np.zeros(1))
    p.grad = np.ones(1)
    with pytest.raises(NotImplementedError):
        Optimizer([p], {"lr": 0.1}).step()
