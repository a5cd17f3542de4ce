"""Clipping gradients, and averaging parameters."""

import numpy as np
import pytest
from make_optim_golden import sequence

from minicnn import optim
from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter

P = Parameter(np.zeros(2))


def with_grads(*grads):
    params = [Parameter(np.zeros_like(g)) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    return params


def test_clipping_by_hand():
    a, b = np.array([3.0], np.float32), np.array([[4.0]])
    params = with_grads(a, b)
    norm = optim.clip_grad_norm_(iter(params), 1.0)
    assert isinstance(norm, float)
    assert norm == 5.0
    np.testing.assert_allclose([p.grad.item() for p in params], [0.6, 0.8], rtol=1e-6)
    assert [p.grad.dtype for p in params] == ["float32", "float64"]
    assert (a[0], b[0, 0]) == (3.0, 4.0), "the gradients' owner still holds them"
    assert optim.clip_grad_norm_(params[0], 10.0) == pytest.approx(0.6)
    assert params[0].grad.item() == pytest.approx(0.6), "a short gradient is left alone"
    tiny = with_grads(np.array([1e-6]))
    optim.clip_grad_norm_(tiny, 1e-6)
    assert tiny[0].grad.item() == pytest.approx(0.5e-6), "the 1e-6 of the formula"
    params[0].requires_grad, params[1].grad = False, None
    assert optim.clip_grad_norm_(params, 0.1) == 0.0


@pytest.mark.torch
@pytest.mark.parametrize("norm_type", [0.5, 1, 2.0, 3.5, float("inf")])
@pytest.mark.parametrize("max_norm", [0.1, 5, 1e3])
def test_clipping_is_torchs(norm_type, max_norm):
    torch = pytest.importorskip("torch")
    grads = sequence()[1][0]
    params, theirs = with_grads(*grads), [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads]
    for q, g in zip(theirs, grads, strict=True):
        q.grad = torch.tensor(g)
    want = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert optim.clip_grad_norm_(params, max_norm, norm_type) == pytest.approx(want.item(), rel=1e-12)
    for p, q in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_norm_that_is_not_finite(value):
    params = with_grads(np.array([1.0, value]))
    with pytest.raises(ValueError, match=rf"clip_grad_norm_: the gradients' norm is {value}; wanted a finite one"):
        optim.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[0].grad[0] == 1.0
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(optim.clip_grad_norm_(params, 1.0))


def test_the_average_of_parameters():
    p = Parameter(np.array([1.0], np.float32))
    held = p.data
    ema = optim.EMA([p], decay=0.75)
    held[0] = 100.0
    for value in (5.0, 9.0):
        p.data = np.array([value], np.float32)
        ema.update()
    last = p.data  # averages 1, 1 + 1 = 2, 2 + 7/4 = 3.75
    with ema.applied():
        assert (p.data[0], p.data.dtype) == (3.75, np.float32)
        with ema.applied():
            p.data[0] = -1.0
        assert p.data[0] == 3.75, "nested, and written to by a user"
    assert p.data is last
    assert held[0] == 100.0
    with pytest.raises(RuntimeError, match="inside"), ema.applied():
        raise RuntimeError("inside")
    assert p.data is last
    p.data = np.array([1.0])  # as Module.astype does
    ema.update()
    assert (ema.averages[0].item(), ema.averages[0].dtype) == (3.75 - 2.75 / 4, np.float64)


def test_the_averages_of_a_model_are_saved_and_loaded():
    model = Module()
    model.weight, model.bias = Parameter(np.ones((2, 3))), Parameter(np.zeros(3))
    ema = optim.EMA(model, decay=0.5)
    model.weight.data = np.full((2, 3), 3.0)
    ema.update()
    saved = ema.state_dict()
    other = optim.EMA(model)
    other.load_state_dict({"state": {str(i): s for i, s in saved["state"].items()}, "decay": saved["decay"]})
    saved["state"][0]["average"][...] = np.nan  # a copy
    other.update()
    assert other.decay == 0.5
    np.testing.assert_array_equal(other.averages[0], np.full((2, 3), 2.5))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"state": {}}, r"EMA.load_state_dict: got \['state'\]; wanted a dict with 'state' and 'decay'"),
        ({"state": {}, "decay": 0.5}, r"EMA.load_state_dict: got averages of 0 parameters; wanted 1"),
        ({"state": {0: {"average": np.zeros(3)}}, "decay": 0.5}, r"average 0 has shape \(3,\); wanted \(2,\)"),
        ({"state": {0: {"average": np.zeros(2)}}, "decay": 2}, r"EMA.load_state_dict: decay is 2; wanted a number in"),
    ],
)
def test_averages_that_do_not_fit_are_refused(state, message):
    ema = optim.EMA([P])
    with pytest.raises(ValueError, match=message):
        ema.load_state_dict(state)
    assert ema.decay == 0.999


def test_averages_of_a_parameter_that_changed_its_shape():
    p = Parameter(np.zeros(2))
    ema = optim.EMA([p])
    p.data = np.zeros(3)
    with pytest.raises(
        ValueError, match=r"EMA.update: parameter 0 has shape \(3,\); wanted that of its average, \(2,\)"
    ):
        ema.update()
