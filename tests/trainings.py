"""Small data, models and trainers for the tests of training: a step takes about a millisecond."""

import numpy as np

from minicnn import nn, optim
from minicnn.data.dataset import Dataset
from minicnn.train import Callback, Trainer

CLASSES = ("bar", "box", "blank")


def features(n=22, seed=0):
    """(x, y): n samples (n, 4) of three classes, which a linear model can nearly tell apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (rng.normal(0, 0.7, (n, 4)) + 2 * np.eye(3, 4)[y]).astype("float32"), y


def pictures(n=38, seed=0):
    """n noisy pictures 8 x 8 of a bar, a box or nothing; the last quarter is PublicTest."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 120, (n, 8, 8, 1)), np.arange(n) % 3
    images[labels == 0, 1:7, 3:5] += 90
    images[labels == 1, 2:6, 2:6] += 90
    usage = np.where(np.arange(n) < n * 3 // 4, "Training", "PublicTest")
    return Dataset(images.astype(np.uint8), labels.astype(np.int64), usage, CLASSES)


def linear(seed=0):
    return nn.Sequential(nn.Linear(4, 3, rng=seed))


def convnet(seed=0):
    """Everything that has a state of its own: weights, running statistics, masks."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=seed),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout2d(0.2, rng=seed),
        nn.Flatten(),
        nn.Dropout(0.3, rng=seed),
        nn.Linear(64, 3, rng=seed),
    )


def trainer(model=None, loss=None, optimizer=None, **options):
    """A Trainer that keeps the lines of its log in `lines`."""
    model = linear() if model is None else model
    optimizer = optim.SGD(model.parameters(), lr=0.1) if optimizer is None else optimizer
    lines = []
    made = Trainer(model, nn.CrossEntropyLoss() if loss is None else loss, optimizer, log=lines.append, **options)
    made.lines = lines
    return made


def same_arrays(got, want):
    """Raise unless two dictionaries hold the same arrays under the same names, bit by bit."""
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].dtype == want[name].dtype, name
        assert got[name].tobytes() == want[name].tobytes(), name


def differ(a, b):
    """Whether some array of two states differs."""
    return any(a[name].tobytes() != b[name].tobytes() for name in a)


class Interrupted(Exception):
    """What the tests throw into a training."""


class InterruptAt(Callback):
    """At the end of one step, save the state and break off, as Ctrl-C would between two steps."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_batch_end(self, batch, logs):
        if logs["step"] == self.step:
            self.trainer.save_checkpoint(self.path)
            raise Interrupted
