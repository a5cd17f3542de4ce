"""The losses: a number, its gradient, the last call kept."""

import numpy as np
import pytest

from minicnn import nn, ops


def normal(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


LOGITS, CLASSES = normal(6, 4), np.array([0, 3, 1, 1, 2, 0])
OTHER, DISTRIBUTIONS = normal(6, 4, seed=1), np.random.default_rng(2).dirichlet(np.ones(4), 6)
WEIGHT = np.array([0.5, 1.0, 2.0, 0.1])
ROWS = [
    (nn.CrossEntropyLoss, {}, CLASSES, ops.cross_entropy, (6,)),
    (nn.CrossEntropyLoss, {"weight": WEIGHT, "label_smoothing": 0.1}, CLASSES, ops.cross_entropy, (6,)),
    (nn.CrossEntropyLoss, {"label_smoothing": 0.3}, DISTRIBUTIONS, ops.cross_entropy, (6,)),
    (nn.MSELoss, {}, OTHER, ops.mse, (6, 4)),
    (nn.BCEWithLogitsLoss, {}, DISTRIBUTIONS, ops.binary_cross_entropy, (6, 4)),
]
every_loss = pytest.mark.parametrize(("loss", "options", "target", "op", "unreduced"), ROWS)


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("scale", [1.0, -2.5])
def test_a_loss_is_its_op(loss, options, target, op, unreduced, reduction, scale):
    ours = loss(**options, reduction=reduction)
    value, cache = op.forward(LOGITS, target, **options, reduction=reduction)
    got = ours(LOGITS, target)
    assert np.array_equal(got, value)
    assert np.shape(got) == (unreduced if reduction == "none" else ())
    assert isinstance(got, np.ndarray if reduction == "none" else float)
    assert np.array_equal(ours.backward(scale), op.backward(scale, cache)[0])
    dloss = normal(*np.shape(got), seed=3) if reduction == "none" else np.array(0.7)
    assert np.array_equal(ours.backward(dloss), op.backward(dloss, cache)[0])


@every_loss
def test_mean_is_the_default_and_backward_starts_from_1(loss, options, target, op, unreduced):
    ours, mean = loss(**options), loss(**options, reduction="mean")
    assert ours(LOGITS, target) == mean(LOGITS, target)
    assert np.array_equal(ours.backward(), mean.backward(1.0))


@every_loss
def test_the_last_call_is_kept(loss, options, target, op, unreduced):
    ours = loss(**options)
    ours(LOGITS, target)
    first = ours.backward()
    assert np.array_equal(ours.backward(), first), "backward may be called again"
    ours(2 * LOGITS, target)
    assert not np.array_equal(ours.backward(), first)


@every_loss
def test_float32_stays_float32(loss, options, target, op, unreduced):
    ours, single = loss(**options), LOGITS.astype("float32")
    assert isinstance(ours(single, target.astype("float32") if target.dtype.kind == "f" else target), float)
    assert ours.backward().dtype == "float32"


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, nn.MSELoss, nn.BCEWithLogitsLoss])
def test_backward_before_a_call(loss):
    with pytest.raises(RuntimeError, match=rf"{loss.__name__}\.backward: call the loss on a prediction and a target"):
        loss().backward()


def test_by_hand():
    x = np.array([[0.0, np.log(3)]])
    assert nn.CrossEntropyLoss()(x, np.array([1])) == pytest.approx(-np.log(3 / 4))
    assert nn.MSELoss()(np.array([1.0, 2.0]), np.array([3.0, 2.0])) == pytest.approx(2.0)
    assert nn.BCEWithLogitsLoss()(np.array([np.log(3)]), np.array([0.0])) == pytest.approx(np.log(4))


def test_a_user_defined_loss_calls_its_op():
    class L2(nn.Loss):
        op = ops.mse

    loss = L2(reduction="sum")
    assert loss(np.array([3.0]), np.array([1.0])) == 4.0
    assert loss.backward() == np.array([4.0])


REPRS = [
    (nn.CrossEntropyLoss(), "CrossEntropyLoss(label_smoothing=0.0, reduction='mean')"),
    (nn.MSELoss("sum"), "MSELoss(reduction='sum')"),
]


@pytest.mark.parametrize(("loss", "text"), REPRS)
def test_repr(loss, text):
    assert repr(loss) == text


BAD = [
    (nn.CrossEntropyLoss(), (LOGITS, np.full(6, 9)), ValueError, r"target has classes 9\.\.9, wanted 0\.\.3"),
    (
        nn.CrossEntropyLoss(reduction="avg"),
        (LOGITS, CLASSES),
        ValueError,
        r"reduction 'avg' is none of mean, sum, none",
    ),
    (nn.MSELoss(), (LOGITS, OTHER[:, :1]), ValueError, r"mse: x has shape \(6, 4\) but target has shape \(6, 1\)"),
    (nn.BCEWithLogitsLoss(), (LOGITS, CLASSES), TypeError, r"target is int64, wanted floating-point"),
]


@pytest.mark.parametrize(("loss", "arguments", "error", "message"), BAD)
def test_a_refused_call_leaves_nothing_to_go_back_through(loss, arguments, error, message):
    with pytest.raises(error, match=message):
        loss(*arguments)
    with pytest.raises(RuntimeError, match="call the loss"):
        loss.backward()
