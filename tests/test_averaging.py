"""AveragedWeights: what the average is, when it stands in the model, and that the training does not notice it."""

import numpy as np
import pytest
from trainings import InterruptAt, Interrupted, convnet, differ, pictures, same_arrays, trainer

from minicnn import optim
from minicnn.train import AveragedWeights, Callback, EarlyStopping, SaveState


class Watch(Callback):
    """The model's state after each step, before AveragedWeights sees it, and at the end of each epoch."""

    def __init__(self):
        self.steps, self.epochs = [], []

    def on_batch_end(self, batch, logs):
        self.steps.append(self.trainer.model.state_dict())

    def on_epoch_end(self, epoch, logs):
        self.epochs.append(self.trainer.model.state_dict())


def fit(*callbacks, epochs=3, resume=None):
    faces, model = pictures(), convnet()
    made = trainer(model, optimizer=optim.SGD(model.parameters(), lr=0.05, momentum=0.9), callbacks=callbacks)
    if resume:
        made.resume(resume)
    made.fit(faces.split("Training"), faces.split("PublicTest"), epochs, batch_size=8)
    return made


def average(first, steps, decay):
    """The recursion of the docstring, in float64."""
    a = {name: value.astype(np.float64) for name, value in first.items()}
    for t, state in enumerate(steps, 1):
        d = min(decay, (1 + t) / (10 + t))
        a = {name: a[name] + (1 - d) * (state[name] - a[name]) for name in a}
    return a


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99])
def test_the_model_holds_the_average_at_the_end_of_an_epoch_and_of_the_training(decay):
    watch = Watch()
    made = fit(watch, AveragedWeights(decay))
    per_epoch = len(watch.steps) // 3
    assert per_epoch > 1
    for epoch in (1, 2, 3):
        wanted = average(convnet().state_dict(), watch.steps[: epoch * per_epoch], decay)
        for name, value in watch.epochs[epoch - 1].items():
            np.testing.assert_allclose(value, wanted[name], rtol=1e-4, atol=1e-6, err_msg=name)
    same_arrays(made.model.state_dict(), watch.epochs[-1])
    assert any("running_mean" in name for name in wanted)


def test_the_training_is_the_same_with_and_without():
    plain, watched = Watch(), Watch()
    alone, averaged = fit(plain), fit(watched, AveragedWeights(0.99))
    for a, b in zip(plain.steps, watched.steps, strict=True):
        same_arrays(a, b)
    assert alone.history["train_loss"] == averaged.history["train_loss"]
    assert differ(alone.model.state_dict(), averaged.model.state_dict())
    measured = averaged.evaluate(pictures().split("PublicTest"))
    assert measured["loss"] == averaged.history["valid_loss"][-1] != alone.history["valid_loss"][-1]


def test_another_fit_goes_on_with_the_weights():
    whole, parts = Watch(), Watch()
    fit(whole, AveragedWeights(0.9), epochs=2)
    made = fit(parts, AveragedWeights(0.9), epochs=1)
    faces = pictures()
    made.fit(faces.split("Training"), faces.split("PublicTest"), 1, batch_size=8)
    for a, b in zip(whole.steps, parts.steps, strict=True):
        same_arrays(a, b)
    same_arrays(whole.epochs[-1], parts.epochs[-1])


@pytest.mark.parametrize("step", range(1, 9))  # four steps an epoch
def test_interrupted_and_resumed_is_as_undisturbed(step, tmp_path):
    path = tmp_path / "state.safetensors"
    whole = fit(AveragedWeights(0.9))
    with pytest.raises(Interrupted):
        fit(AveragedWeights(0.9), InterruptAt(step, path))
    made = fit(AveragedWeights(0.9), resume=path)
    assert whole.history.rows == made.history.rows
    same_arrays(whole.model.state_dict(), made.model.state_dict())


def test_resumed_between_epochs(tmp_path):
    whole = fit(AveragedWeights(0.9))
    fit(AveragedWeights(0.9), SaveState(tmp_path / "state.safetensors"), epochs=2)
    made = fit(AveragedWeights(0.9), resume=tmp_path / "state.safetensors")
    assert whole.history.rows == made.history.rows
    same_arrays(whole.model.state_dict(), made.model.state_dict())


def test_early_stopping_restores_the_average_of_the_best_epoch():
    watch = Watch()
    stopping = EarlyStopping("valid_loss", 3, restore_best_weights=True)
    made = fit(watch, stopping, AveragedWeights(0.9))
    best = made.history.best("valid_loss")["epoch"]
    same_arrays(made.model.state_dict(), watch.epochs[best - 1])


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_out_of_range(decay):
    with pytest.raises(ValueError, match=r"EMA: decay is .*; wanted a number in \[0, 1\)"):
        fit(AveragedWeights(decay))
