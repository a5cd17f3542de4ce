"""The arrays of a Module: states that go out and in, parameters and their gradients."""

import numpy as np
import pytest
from subjects import KEYS_OF_NESTED, nested, normal

from minicnn import nn
from minicnn.nn import Parameter

# state


def test_a_state_goes_from_one_model_to_another():
    model, other = nested(), nested()
    model(normal(2, 4, 4, 1))
    for p in model.parameters():
        p.data = p.data + 1
    assert other.load_state_dict(model.state_dict()) == ([], [])
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert np.array_equal(a, b), name
    x = normal(3, 4, 4, 1, seed=1)
    assert np.array_equal(model.eval()(x), other.eval()(x))


def test_a_state_is_a_copy_on_the_way_out_and_in():
    model = nested()
    kept = {k: v.copy() for k, v in model.state_dict().items()}
    for load in (False, True):
        state = model.state_dict()
        if load:
            model.load_state_dict(state)
        for v in state.values():
            v += 1
        assert all(np.array_equal(v, kept[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_loading_keeps_the_models_dtype(dtype):
    model = nested()
    model.load_state_dict({k: v.astype(dtype) for k, v in model.state_dict().items()})
    assert {v.dtype.name for v in model.state_dict().values()} == {"float32"}


def without(state, *names):
    return {k: v for k, v in state.items() if k not in names}


STRICT = [
    (lambda s: without(s, "0.bias"), r"Sequential\.load_state_dict: 0\.bias: missing$"),
    (lambda s: s | {"9.bias": s["0.bias"]}, r"load_state_dict: 9\.bias: unexpected$"),
    (lambda s: s | {"0.bias": np.ones(3)}, r"load_state_dict: 0\.bias: has shape \(3,\), wanted \(2,\)$"),
    (lambda s: s | {"1.running_var": np.ones((2, 1))}, r"1\.running_var: has shape \(2, 1\), wanted \(2,\)"),
    (
        lambda s: without(s, "3.bias", "0.bias") | {"x": s["0.bias"], "3.weight": np.ones((3, 8))},
        r"0\.bias: missing; 3\.bias: missing; 3\.weight: has shape \(3, 8\), wanted \(8, 3\); x: unexpected$",
    ),
    (lambda s: {}, "; ".join(f"{k}: missing" for k in sorted(KEYS_OF_NESTED)).replace(".", r"\.")),
]


@pytest.mark.parametrize(("change", "message"), STRICT)
def test_strict_loading_names_everything_and_loads_nothing(change, message):
    model = nested()
    before = model.state_dict()
    state = change({k: v + 1 for k, v in before.items()})
    with pytest.raises(ValueError, match=message):
        model.load_state_dict(state)
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())


def test_loading_what_there_is():
    model = nested()
    before = model.state_dict()
    state = {"0.bias": np.array([5.0, 6.0]), "x": np.ones(1), "a": np.ones(1)}
    keys = model.load_state_dict(state, strict=False)
    assert keys.missing_keys == [k for k in KEYS_OF_NESTED if k != "0.bias"]
    assert keys.unexpected_keys == ["x", "a"]
    after = model.state_dict()
    assert np.array_equal(after["0.bias"], [5, 6])
    assert all(np.array_equal(after[k], before[k]) for k in keys.missing_keys)
    with pytest.raises(ValueError, match=r"0\.bias: has shape \(3,\), wanted \(2,\)"):
        model.load_state_dict({"0.bias": np.ones(3)}, strict=False)


# parameters


def test_a_parameter():
    p = Parameter(np.zeros((2, 3), "float32"))
    assert (p.shape, p.grad, p.requires_grad) == ((2, 3), None, True)
    assert repr(p) == "Parameter(float32 (2, 3))"
    assert repr(Parameter(np.zeros(1), requires_grad=False)) == "Parameter(float64 (1,), frozen)"
    first = np.ones((2, 3), "float32")
    p.accumulate(first)
    p.accumulate(None)
    p.accumulate(first)
    assert np.array_equal(p.grad, 2 * first)
    assert np.array_equal(first, np.ones((2, 3))), "the array that was given is not written to"
    p.requires_grad = False
    p.accumulate(first)
    assert np.array_equal(p.grad, 2 * first)


def test_a_frozen_parameter_gets_no_gradient_and_the_others_do():
    model = nested()
    frozen = [model[0].weight, model[1].bias, model[2][0].weight, model[3].bias]
    for p in frozen:
        p.requires_grad = False
    model.backward(model(normal(2, 4, 4, 1)))
    assert [p.grad is None for p in model.parameters()] == [p in frozen for p in model.parameters()]


def test_data_and_grad_may_be_assigned_at_any_time():
    layer = nn.Linear(2, 2, rng=0)
    layer.weight.data, layer.bias.data = np.eye(2, dtype="float32"), np.zeros(2, "float32")
    x = normal(3, 2)
    assert np.array_equal(layer(x), x)
    layer.bias.grad = np.full(2, 10, "float32")
    layer.backward(np.ones((3, 2), "float32"))
    assert np.array_equal(layer.bias.grad, [13, 13])
    layer.bias.grad = None
    assert layer.bias.grad is None


def test_gradients_add_up_until_zero_grad():
    model, x = nested(), normal(2, 4, 4, 1)
    model.backward(model(x))
    once = {n: p.grad for n, p in model.named_parameters()}
    kept = {n: g.copy() for n, g in once.items()}
    model.backward(model(x))
    for n, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, 2 * kept[n], rtol=1e-4, atol=1e-6)
        assert np.array_equal(once[n], kept[n]), "an array that was handed out is not written to"
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
