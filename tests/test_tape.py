"""Backwards: what a call keeps to go back through, for how long, and what the message says when there is nothing."""

import contextlib
import gc
import weakref

import numpy as np
import pytest
from subjects import flat, normal

from minicnn import gradcheck, nn

X, DY = normal(5, 4, 4, 1), normal(5, 3, seed=1)

ONCE = r"backward: each call of a module allows one backward; call it again"
NOT_CALLED = r"backward: call it first, on an input"
NOT_KEPT = r"backward: in eval\(\) a call keeps nothing for backward; use `with minicnn\.record\(\):` around both"
SUPERSEDED = r"backward: a part of it has been called on its own or in another model since; call it again"


# when there is something to go back through


def test_backward_before_a_call():
    with pytest.raises(RuntimeError, match=rf"Linear\.{NOT_CALLED}"):
        flat().backward(DY)


def test_each_call_allows_one_backward():
    model = flat()
    model(X)
    model.backward(DY)
    with pytest.raises(RuntimeError, match=rf"Linear\.{ONCE}"):
        model.backward(DY)
    model(X)
    model(X)
    model.backward(DY)
    with pytest.raises(RuntimeError, match=ONCE):
        model.backward(DY)


def test_eval_keeps_nothing_and_says_what_to_do():
    model = flat().eval()
    model(X)
    with pytest.raises(RuntimeError, match=rf"Linear\.{NOT_KEPT}"):
        model.backward(DY)
    model.train()
    with pytest.raises(RuntimeError, match=NOT_CALLED):
        model.backward(DY)


def test_a_call_in_eval_does_not_leave_an_older_one_to_go_back_through():
    model = flat()
    model(X)
    model.eval()(2 * X)
    with pytest.raises(RuntimeError, match=rf"Linear\.{NOT_KEPT}"):
        model.backward(DY)


def test_record_keeps_in_eval_what_train_would():
    model = flat().eval()
    reference = flat()
    reference.load_state_dict(model.state_dict())
    reference[1].eval(), reference[3].eval()  # the same function, but called in train()
    reference(X)
    with nn.record():
        model(X)
        dx = model.backward(DY)
        with pytest.raises(RuntimeError, match=ONCE):
            model.backward(DY)
    assert np.array_equal(dx, reference.backward(DY))
    for p, q in zip(model.parameters(), reference.parameters(), strict=True):
        assert np.array_equal(p.grad, q.grad)


def test_record_leaves_no_trace():
    model = flat().eval()
    before = [{k: id(v) for k, v in vars(m).items()} for m in model.modules()]
    with nn.record():
        model(X)
    assert [{k: id(v) for k, v in vars(m).items()} for m in model.modules()] == before
    with pytest.raises(RuntimeError, match=NOT_KEPT):
        model.backward(DY)
    with nn.record(), pytest.raises(RuntimeError, match=NOT_CALLED):
        model.backward(DY)


def test_record_ends_after_an_exception():
    model = flat().eval()
    with pytest.raises(KeyError), nn.record():
        raise KeyError
    model(X)
    with pytest.raises(RuntimeError, match=NOT_KEPT):
        model.backward(DY)


def test_a_nested_record_is_its_own():
    model = flat().eval()
    with nn.record():
        model(X)
        with nn.record(), pytest.raises(RuntimeError, match=NOT_CALLED):
            model.backward(DY)
        model.backward(DY)


def test_record_in_train_leaves_the_call_before_it_alone():
    model = flat()
    model[3].rng = 7
    model(X)
    with nn.record():
        model(2 * X)
        inside = model.backward(DY)
    again = flat()
    again[3].rng = 7
    again(X)
    outside = model.backward(DY)
    assert np.array_equal(outside, again.backward(DY))
    assert not np.array_equal(outside, inside)


# the way back, in parts and in odd ways


def test_layer_by_layer_is_the_whole():
    model, twin = flat(), flat()
    y = model(X)
    h = X
    for layer in twin:
        h = layer(h)
    assert np.array_equal(h, y)
    dx, d = model.backward(DY), DY
    for layer in reversed(list(twin)):
        d = layer.backward(d)
    assert np.array_equal(d, dx)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert np.array_equal(p.grad, q.grad)


def test_the_user_may_go_back_through_the_parts_of_one_call():
    model, twin = flat(), flat()
    model(X), twin(X)
    d = DY
    for layer in reversed(list(model)):
        d = layer.backward(d)
    assert np.array_equal(d, twin.backward(DY))


def test_backward_of_the_top_alone():
    model = flat()
    model(X)
    d = model[-1].backward(DY)
    assert d.shape == (5, 8)
    assert model[0].weight.grad is None
    with pytest.raises(RuntimeError, match=rf"Linear\.{ONCE}"):
        model.backward(DY)


def test_a_shared_part_called_in_another_model_ends_the_first_call():
    """Else the rest of the first model would go back through the second one's input, silently."""
    shared = nn.Linear(3, 3, rng=0)
    first, second = nn.Sequential(shared, nn.Linear(3, 2, rng=1)), nn.Sequential(shared, nn.Linear(3, 2, rng=2))
    first(normal(4, 3)), second(normal(4, 3, seed=1))
    with pytest.raises(RuntimeError, match=rf"Linear\.{SUPERSEDED}"):
        first.backward(normal(4, 2))
    second.backward(normal(4, 2))
    with nn.record():
        first(normal(4, 3)), second(normal(4, 3, seed=1))
        with pytest.raises(RuntimeError, match=SUPERSEDED):
            first.backward(normal(4, 2))
        second.backward(normal(4, 2))


def test_a_part_called_on_its_own_ends_the_call_of_the_whole():
    model = flat()
    model(X)
    model[0](X)
    with pytest.raises(RuntimeError, match=SUPERSEDED):
        model.backward(DY)


def test_a_frozen_norm_in_a_model_that_trains():
    model = flat()
    model(X)
    model[1].eval()
    mean, var = model[1].running_mean.copy(), model[1].running_var.copy()
    h = model[0](X)
    np.testing.assert_allclose(model[1](h), (h - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)
    model(X)
    model.backward(DY)
    assert np.array_equal(model[1].running_mean, mean)
    assert np.array_equal(model[1].running_var, var)
    assert model[1].weight.grad is not None
    gradcheck(model, X)


def test_the_mode_of_the_outermost_module_decides():
    model = flat().eval()
    model[0].train()
    model(X)
    with pytest.raises(RuntimeError, match=NOT_KEPT):
        model.backward(DY)
    model[0](X)
    model[0].backward(normal(5, 2, 2, 2))


def test_an_empty_batch():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3, rng=0))
    assert model(X[:0]).shape == (0, 3)
    assert model.backward(DY[:0]).shape == (0, 4, 4, 1)
    assert not any(p.grad.any() for p in model.parameters())


# memory


def kept_input(model, x):
    """A weak reference to what the first layer keeps of this call."""
    x = x.copy()
    model(x)
    return weakref.ref(x)


def test_a_second_call_frees_the_first_before_it_needs_memory():
    model = flat()
    first = kept_input(model, X)
    assert first() is not None
    alive = []
    model[0].register_forward_hook(lambda m, x, y: alive.append(first() is not None))
    second = kept_input(model, X)
    assert alive == [False]
    assert second() is not None


def test_backward_frees_what_it_has_used():
    model = flat()
    kept = kept_input(model, X)
    model.backward(DY)
    assert kept() is None


@pytest.mark.parametrize("training", [True, False])
def test_record_frees_when_it_ends(training):
    model = flat().train(training)
    with nn.record():
        kept = kept_input(model, X)
        assert kept() is not None
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("recording", [True, False])
def test_a_model_is_freed_with_its_last_reference(recording):
    """Without waiting for the garbage collector, which does not know how large arrays are."""
    gc.disable()
    try:
        model = flat()
        with nn.record() if recording else contextlib.nullcontext():
            model(X)
            model.backward(DY)
            model(X)
        model.summary((4, 4, 1))
        parts = [weakref.ref(m) for m in model.modules()]
        del model
        assert not any(part() for part in parts)
    finally:
        gc.enable()


def test_eval_frees_at_once():
    assert kept_input(flat().eval(), X)() is None


def test_a_call_that_fails_keeps_nothing():
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Linear(3, 4, rng=0))
    x = normal(2, 3)
    kept = weakref.ref(x)
    with pytest.raises(ValueError, match="does not fit"):
        model(x)
    del x
    gc.collect()
    assert kept() is None
    with pytest.raises(RuntimeError, match=NOT_CALLED):
        model.backward(normal(2, 4))
