"""What the public gradient check accepts, and what it must reject and how it calls it.

(That every op passes, and that planted wrong backwards do not, is in test_ops.)
"""

import functools

import numpy as np
import pytest
from subjects import convolutional, op, square
from subjects import normal as normal32

from minicnn import GradcheckError, gradcheck, nn, ops

normal = functools.partial(normal32, dtype="float64")
both_modes = pytest.mark.parametrize("mode", ["directional", "full"])
X, IMAGES = normal(4, 3), normal(3, 4, 4, 2)

RIGHT = [
    pytest.param(ops.conv2d, (normal(2, 5, 4, 3), normal(3, 3, 3, 2), normal(2)), {"stride": 2}, 3, id="conv"),
    pytest.param(ops.conv2d, (normal(2, 5, 4, 3), normal(3, 3, 3, 2), None), None, 2, id="a None"),
    pytest.param(ops.tanh, X, None, 1, id="an array, no tuple"),
    pytest.param(ops.tanh, [X], None, 1, id="a list"),
    pytest.param(ops.tanh, X.astype("float32"), None, 1, id="float32 is probed in float64"),
    pytest.param(ops.tanh, np.array(0.3), None, 1, id="0-d"),
    pytest.param(ops.concat, (X, normal(4, 2)), {"axis": 1}, 2, id="two inputs"),
    pytest.param(ops.cross_entropy, (X, np.array([0, 2, 1, 1])), {"label_smoothing": 0.1}, 1, id="integers"),
    pytest.param(ops.dropout, X, {"p": 0.5, "rng": np.random.default_rng(0)}, 1, id="a Generator is frozen"),
    pytest.param(op(lambda x: (float((x * x).sum()), x), lambda dy, x: (2 * x * dy,)), X, None, 1, id="a float y"),
    pytest.param(nn.CrossEntropyLoss(label_smoothing=0.2), (X, np.array([0, 2, 1, 1])), None, 1, id="loss"),
    pytest.param(nn.CrossEntropyLoss(reduction="none"), (X, np.array([0, 2, 1, 1])), None, 1, id="loss of each row"),
    pytest.param(nn.MSELoss(), (X, normal(4, 3, seed=1)), None, 1, id="loss of two float arrays"),
    pytest.param(convolutional(), IMAGES, None, 9, id="model in train"),
    pytest.param(convolutional(False), IMAGES, None, 9, id="model in eval"),
    pytest.param(nn.Linear(3, 2, rng=0), X.astype("float32"), None, 3, id="layer"),
    pytest.param(nn.Flatten(), IMAGES, None, 1, id="layer without parameters"),
]


@both_modes
@pytest.mark.parametrize(("subject", "inputs", "kwargs", "rows"), RIGHT)
def test_right_gradients_pass(subject, inputs, kwargs, rows, mode):
    report = gradcheck(subject, inputs, kwargs=kwargs, mode=mode)
    assert len(report.rows) == rows
    assert 0 <= report.max_error <= 1e-6
    assert report.max_error == max(row.error for row in report.rows)
    assert bool(report)


@pytest.mark.parametrize("seed", range(5))
def test_right_gradients_pass_for_any_seed(seed):
    gradcheck(convolutional(), normal(3, 4, 4, 2, seed=seed), seed=seed)


def test_modes_of_a_model_differ():
    def analytic(model):
        return gradcheck(model, IMAGES).rows[0].analytic

    assert analytic(convolutional(True)) != analytic(convolutional(False))


WRONG = [
    ("a factor", lambda dy, x: (x * dy,)),
    ("one part in 10^5", lambda dy, x: ((2 + 2e-5) * x * dy,)),
    ("zeros", lambda dy, x: (0 * x,)),
    ("sign", lambda dy, x: (-2 * x * dy,)),
    ("transposed", lambda dy, x: (np.roll(2 * x * dy, 1, 0),)),
    ("one nan", lambda dy, x: (np.where(np.arange(3) == 1, np.nan, 2 * x * dy),)),
]


@both_modes
@pytest.mark.parametrize(("name", "backward"), WRONG, ids=[w[0] for w in WRONG])
def test_wrong_gradients_are_called_wrong(name, backward, mode):
    with pytest.raises(GradcheckError, match=r"gradcheck mine\n.*\n  input 0 +\(4, 3\) .* WRONG$"):
        gradcheck(op(square, backward), X, mode=mode)


def test_rtol_is_what_is_allowed():
    slightly = op(square, lambda dy, x: (2.0002 * x * dy,))
    gradcheck(slightly, X, rtol=1e-3)
    with pytest.raises(GradcheckError, match="WRONG"):
        gradcheck(slightly, X, rtol=1e-5)


@pytest.mark.parametrize("at", [(0, 0), (3, 1), (2, 2)])
def test_full_mode_names_the_entry(at):
    def backward(dy, x):
        dx = 2 * x * dy
        dx[at] *= 1.001
        return (dx,)

    with pytest.raises(GradcheckError, match=rf"input 0 .* at \({at[0]}, {at[1]}\) WRONG"):
        gradcheck(op(square, backward), X, mode="full")


@both_modes
def test_the_wrong_tensor_of_a_model_is_named_and_no_other(mode):
    class Wrong(nn.Linear):
        def gradient(self, dy, cache):
            dx = super().gradient(dy, cache)
            self.bias.grad = self.bias.grad * 2
            return dx

    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Sequential(nn.Tanh(), Wrong(4, 2, rng=1)))
    with pytest.raises(GradcheckError) as caught:
        gradcheck(model, X, mode=mode)
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines if line.endswith("WRONG")] == ["1.1.bias"]
    assert [line.split()[0] for line in lines[2:]] == ["input", *dict(model.named_parameters())]


def test_a_wrong_loss():
    class Wrong(nn.MSELoss):
        def backward(self, dloss=1.0):
            return super().backward() / 2

    with pytest.raises(GradcheckError, match=r"gradcheck Wrong\n.*\n  prediction .* WRONG"):
        gradcheck(Wrong(), (X, normal(4, 3, seed=1)))


AT_ZERO = np.where(np.arange(3) == 1, 0.0, X)
NEAR_ZERO = np.where(np.arange(3) == 1, 1e-9, X)
TIED = np.array([0.3, 1.0, 1.0, 0.2]).reshape(1, 2, 2, 1)
NEARLY_TIED = np.array([0.3, 1.0, 1.0 + 1e-9, 0.2]).reshape(1, 2, 2, 1)
KINKS = [
    ("relu at 0", ops.relu, AT_ZERO, {}),
    ("relu near 0", ops.relu, NEAR_ZERO, {}),
    ("leaky relu at 0", ops.leaky_relu, AT_ZERO, {"slope": 0.2}),
    ("all at 0", ops.relu, np.zeros((4, 3)), {}),
    ("prelu at 0", ops.prelu, (AT_ZERO, np.array([0.25])), {}),
    ("max pool at a tie", ops.max_pool2d, TIED, {"kernel_size": 2}),
    ("max pool near a tie", ops.max_pool2d, NEARLY_TIED, {"kernel_size": 2}),
    ("a step", op(lambda x: (np.floor(x) + x, None), lambda dy, c: (dy,)), np.array([0.5, 1.0]), {}),
    ("model", nn.Sequential(nn.Flatten(), nn.ReLU()), AT_ZERO, None),
]


@both_modes
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "subject", "inputs", "kwargs"), KINKS, ids=[k[0] for k in KINKS])
def test_a_kink_is_called_a_kink(name, subject, inputs, kwargs, mode, seed):
    with pytest.raises(GradcheckError, match=r"KINK: no derivative here") as caught:
        gradcheck(subject, inputs, kwargs=kwargs, mode=mode, seed=seed)
    assert "WRONG" not in str(caught.value)


def test_a_step_that_reaches_a_kink_is_not_trusted_though_the_finer_one_is_right():
    x = np.array([1.0, *[0.15] * 9])
    gradcheck(ops.relu, x, eps=0.01)
    with pytest.raises(GradcheckError, match="KINK"):
        gradcheck(ops.relu, x, eps=0.1)


def test_a_wrong_gradient_away_from_a_kink_is_called_wrong():
    away = np.where(np.arange(3) == 1, 1.0, X)
    with pytest.raises(GradcheckError, match="WRONG"):
        gradcheck(op(ops.relu.forward, lambda dy, c: (dy,)), away)


class Unused(nn.Linear):
    """A layer that does not use its bias, and gives a gradient of 0 for it."""

    def forward(self, x):
        return ops.linear.forward(x, self.weight.data)

    def gradient(self, dy, cache):
        self.bias.accumulate(np.zeros_like(self.bias.data))
        dx, dw, _ = ops.linear.backward(dy, cache)
        self.weight.accumulate(dw)
        return dx


NOTHING = op(lambda x: (0 * x, None), lambda dy, c: (0 * dy,))
FROZEN_BY = [
    pytest.param(nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.BatchNorm2d(3)), IMAGES, "0.bias", id="before batch norm"),
    pytest.param(Unused(3, 2, rng=0), X, "bias", id="unused"),
    pytest.param(NOTHING, X, "input 0", id="y does not depend on x"),
    pytest.param(op(lambda x: (x.sum() / x.sum() + 0 * x, None), lambda dy, c: (0 * dy,)), X + 9, "input 0", id="x/x"),
]


@both_modes
@pytest.mark.parametrize(("subject", "inputs", "name"), FROZEN_BY)
def test_a_derivative_that_vanishes_is_refused_with_the_remedy(subject, inputs, name, mode):
    with pytest.raises(GradcheckError, match=rf"  {name} .* VANISHES: any gradient .* freeze the parameter"):
        gradcheck(subject, inputs, mode=mode)


def test_a_frozen_parameter_is_left_out():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), nn.BatchNorm2d(3))
    model[0].bias.requires_grad = False
    report = gradcheck(model, IMAGES)
    assert [row.name for row in report.rows] == ["input", "0.weight", "1.weight", "1.bias"]
