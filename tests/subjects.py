"""What the tests of modules, of the gradient check and of saved models put to the test."""

from types import SimpleNamespace

import numpy as np

from minicnn import nn


def normal(*shape, seed=0, dtype="float32"):
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def op(forward, backward, name="mine"):
    """An op of the tests' own."""
    return SimpleNamespace(__name__=name, forward=forward, backward=backward)


def square(x):
    """The forward of y = x²; its cache is x."""
    return x * x, x


SQUARE = op(square, lambda dy, x: (2 * x * dy,))


def convolutional(training=True):
    """A small model with one of each kind of layer, smooth: no kink can disturb a check.  Takes (N, 4, 4, 2)."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False, rng=1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Residual(nn.Sequential(nn.Conv2d(3, 3, 1, bias=False, rng=2), nn.GroupNorm(3, 3))),
        nn.Dropout(0.4, rng=3),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 3, rng=4),
    )
    return model.train(training)


def flat(rng=0):
    """A Sequential without nesting that takes (N, 4, 4, 1) and gives (N, 3)."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False, rng=rng),
        nn.BatchNorm2d(2),
        nn.Tanh(),
        nn.Dropout(0.3, rng=rng),
        nn.Flatten(),
        nn.Linear(8, 3, rng=rng),
    )


def nested():
    """A Sequential in a Sequential that takes (N, 4, 4, 1) and gives (N, 3)."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, rng=0), nn.BatchNorm2d(2), nn.Sequential(nn.PReLU(2), nn.Flatten()), nn.Linear(8, 3, rng=1)
    )


KEYS_OF_NESTED = [
    "0.weight",
    "0.bias",
    "1.weight",
    "1.bias",
    "1.running_mean",
    "1.running_var",
    "2.0.weight",
    "3.weight",
    "3.bias",
]


def stirred(model):
    """The model with other weights and statistics than a fresh one has."""
    rng = np.random.default_rng(5)
    model.load_state_dict({k: rng.uniform(0.2, 1, v.shape) for k, v in model.state_dict().items()})
    return model


def bits(model):
    """Every array of a model's state: dtype, shape and bytes."""
    return {k: (v.dtype, v.shape, v.tobytes()) for k, v in model.state_dict().items()}
