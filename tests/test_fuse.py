"""The fused model's numbers are the model's: outputs, gradients, running statistics, masks, and what training makes."""

import itertools

import numpy as np
import pytest
from fused_pairs import close, pair, same
from subjects import normal

import minicnn
from minicnn import models, nn, optim

SIZES = {"densenet201_fer": 32, "three_conv": 22, "prelu_cnn": 20, "zero_pad_cnn": 20, "leaky_bn_cnn": 16}
TOLERANCE = {"densenet201_fer": 1e-9}  # its pools come before 1x1 convolutions; all others are the same bits
OPTIONS = {"densenet201_fer": {"layers": (1, 2)}}
every_model = pytest.mark.parametrize("name", models.names())


def named_model(name):
    size = SIZES.get(name, 16)
    make = lambda: models.build(name, width=0.1, input_size=size, rng=0, **OPTIONS.get(name, {}))  # noqa: E731
    return make, (size, size, 1)


# every model


@every_model
def test_training_calls_are_equal(name):
    make, shape = named_model(name)
    fused, model = pair(make)
    for seed in range(2):  # masks and running statistics go on
        same(fused, model, normal(3, *shape, seed=seed, dtype="float64"), TOLERANCE.get(name, 0.0))


@every_model
def test_evaluation_is_equal_and_so_are_its_gradients_under_record(name):
    make, shape = named_model(name)
    fused, model = pair(make)
    x = normal(4, *shape, dtype="float64")
    fused(x), model(x)
    fused.eval(), model.eval()
    same(fused, model, x, 1e-12, backward=False)
    with nn.record():
        same(fused, model, x, 1e-11)


@every_model
@pytest.mark.parametrize("mode", ["fast", "reference"])
def test_float32_is_equal_but_for_rounding(name, mode):
    make, shape = named_model(name)
    with minicnn.using(mode):
        fused, model = pair(make, "float32")
        x = normal(3, *shape)
        close(fused(x), model(x), 1e-4)
        close(fused.eval()(x), model.eval()(x), 1e-4)


@every_model
def test_several_steps_of_adam_are_equal(name):
    make, shape = named_model(name)
    with minicnn.using("reference"):
        fused, model = pair(make)
        losses = []
        for each in (fused, model):
            optimizer, loss = optim.Adam(each.parameters(), lr=1e-3), nn.CrossEntropyLoss()
            for seed in range(3):
                losses.append(loss(each(normal(4, *shape, seed=seed, dtype="float64")), np.arange(4)))
                each.zero_grad()
                each.backward(loss.backward(), *([False] if each is fused else []))
                optimizer.step()
        tolerance = 1e3 * TOLERANCE.get(name, 0.0)  # Adam divides by the size of a gradient, however small
        assert losses[:3] == pytest.approx(losses[3:], rel=tolerance, abs=0)
        for (key, a), b in zip(fused.state_dict().items(), model.state_dict().values(), strict=True):
            close(a, b, tolerance, key)


# layers in every order


def conv():
    return nn.Conv2d(2, 3, 3, padding=1, rng=0)


LAYERS = {
    "relu": nn.ReLU,
    "leaky": lambda: nn.LeakyReLU(0.3),
    "prelu": lambda: nn.PReLU(3),
    "norm": lambda: nn.BatchNorm2d(3),
    "max": lambda: nn.MaxPool2d(2),
    "avg": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "pad": lambda: nn.ZeroPad2d((1, 0, 2, 1)),
    "dropout": lambda: nn.Dropout(0.4),
    "dropout2d": lambda: nn.Dropout2d(0.5),
}
TRIPLES = list(itertools.permutations(LAYERS, 3))
ORDERS = [*TRIPLES[::4], ("dropout2d", "max", "relu"), ("norm", "max", "relu"), ("norm", "dropout2d", "relu")]
PICKED = [("norm", "relu", "pad", "max", "dropout"), ("prelu", "norm", "avg"), ("dropout2d", "pad", "max", "relu")]


@pytest.mark.parametrize("order", [*ORDERS, *PICKED], ids=" ".join)
@pytest.mark.parametrize("training", [True, False])
def test_any_order_of_layers(order, training):
    def make():
        model = nn.Sequential(conv(), *(LAYERS[name]() for name in order), nn.ZeroPad2d(1), nn.Conv2d(3, 2, 3, rng=1))
        for norm in (m for m in model if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean, norm.running_var = np.array([0.1, -0.2, 0.3]), np.array([0.5, 1.0, 2.0])
            norm.weight.data = np.array([0.7, -0.4, 1.2])
        return model.train(training)

    with nn.record():
        same(*pair(make), normal(3, 8, 6, 2, dtype="float64"), 1e-12)


def test_other_options_of_a_convolution():
    for options in ({"stride": 2, "padding": (0, 1)}, {"groups": 2, "dilation": (1, 2)}, {"bias": False}):

        def make(options=options):
            return nn.Sequential(
                nn.ZeroPad2d((1, 2)), nn.Conv2d(2, 4, 2, rng=0, **options), nn.BatchNorm2d(4), nn.ReLU()
            )

        fused, model = pair(make)
        x = normal(2, 5, 6, 2, dtype="float64")
        same(fused, model, x)
        fused.eval(), model.eval()
        with nn.record():
            same(fused, model, x, 1e-12)


# the trainer


def test_a_trainer_trains_fused_as_unfused():
    def histories(fused):
        model = models.leaky_bn_cnn(width=0.1, input_size=16, classes=3, rng=0)
        x, y = normal(20, 16, 16, 1), np.arange(20) % 3
        t = minicnn.Trainer(
            model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), fuse=fused, log=lambda line: None
        )
        return t.fit((x, y), (x, y), epochs=2, batch_size=8).rows, t.predict(x), model.state_dict()

    with minicnn.using("reference"):
        (rows, p, state), (wanted, q, wanted_state) = histories(True), histories(False)
    for row, want in zip(rows, wanted, strict=True):
        assert row == pytest.approx(want, abs=1e-5)
    close(p, q, 1e-4)
    assert list(state) == list(wanted_state)
    for name in state:
        close(state[name], wanted_state[name], 1e-4, name)
