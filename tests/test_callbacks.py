"""The callbacks one by one, driven by a table of numbers instead of a training."""

import math

import numpy as np
import pytest
from trainings import linear

from minicnn import optim
from minicnn.train import EarlyStopping, ReduceLROnPlateau

NAN, INF = math.nan, math.inf


class Stage:
    """What a callback sees of a trainer.  The model's bias counts the epochs."""

    def __init__(self, *groups):
        self.model = linear()
        groups = groups or (0.1,)
        p, *others = self.model.parameters()
        params = [[p, *others]] if len(groups) == 1 else [[p], others]
        self.optimizer = optim.SGD([{"params": ps, "lr": lr} for ps, lr in zip(params, groups, strict=True)])
        self.schedule, self.stopped, self.lines, self.log = None, None, [], lambda line: self.lines.append(line)

    def stop(self, reason, failed=False):
        self.stopped = reason

    @property
    def counted(self):
        return int(self.model[0].bias.data[0])

    def play(self, callback, values, name="valid_loss", start=0):
        """The learning rate in every epoch, until the callback stops."""
        callback.trainer, rates = self, []
        callback.on_train_begin({"epochs": len(values)})
        for epoch, value in enumerate(values, start + 1):
            rates.append(self.optimizer.param_groups[0]["lr"])
            self.model[0].bias.data = np.full(3, epoch, "float32")
            callback.on_epoch_end(epoch, {"epoch": epoch, "lr": rates[-1], name: value})
            if self.stopped:
                break
        return rates


STOPS = [  # monitored, options, values, epochs until it stops (None: it does not), the best one
    ("valid_loss", {}, [3, 2, 1, 1, 0], 4, 3),
    ("valid_loss", {"patience": 1}, [3, 2, 1, 1, 0], 4, 3),
    ("valid_loss", {"patience": 2}, [3, 2, 2.5, 1, 2, 2, 0], 6, 4),
    ("valid_loss", {"patience": 3}, [1, 2, 3, 0.5, 2, 2, 0.1], None, 7),
    ("valid_loss", {"patience": 2}, [1, 2], None, 1),
    ("valid_loss", {"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.0, 1.95], 5, 3),
    ("valid_loss", {"patience": 2, "min_delta": -0.5}, [3, 2.6, 2.4, 2.0, 1.95], 5, 3),
    ("valid_loss", {"patience": 1, "min_delta": 0.5}, [3, 2.5], 2, 1),
    ("valid_loss", {"patience": 2}, [1, NAN, NAN, 0], 3, 1),
    ("valid_loss", {"patience": 2}, [NAN, NAN, 1], 2, None),
    ("valid_loss", {"patience": 2}, [NAN, INF, 1, 2, 2], 2, None),
    ("valid_loss", {"patience": 2, "mode": "max"}, [1, 2, 1, 1], 4, 2),
    ("valid_accuracy", {"patience": 2}, [0.1, 0.3, 0.3, 0.2], 4, 2),
    ("valid_accuracy", {"patience": 2, "mode": "min"}, [0.1, 0.3, 0.3], 3, 1),
    ("valid_accuracy", {"patience": 2}, [0.0, 0.0, 0.0], 3, 1),
]


@pytest.mark.parametrize(("name", "options", "values", "last", "best"), STOPS)
def test_early_stopping(name, options, values, last, best):
    stage, callback = Stage(), EarlyStopping(name, **options, restore_best_weights=True)
    epochs = len(stage.play(callback, values, name))
    assert (epochs, stage.stopped is not None) == (last or len(values), last is not None)
    callback.on_train_end({"interrupted": False})
    assert stage.counted == (best or epochs)


@pytest.mark.parametrize(("keras", "ours"), [("val_loss", "valid_loss"), ("loss", "train_loss")])
def test_keras_names_may_be_monitored(keras, ours):
    stage = Stage()
    assert len(stage.play(EarlyStopping(keras, patience=2), [1, 2, 2, 2], ours)) == 3
    assert stage.stopped == f"{ours} has not improved for 2 epochs"


def test_the_last_weights_stay_without_restore_best_weights():
    stage, callback = Stage(), EarlyStopping(patience=2)
    stage.play(callback, [1, 2, 3])
    callback.on_train_end({"interrupted": False})
    assert stage.counted == 3


def test_an_interrupted_training_keeps_the_weights_it_goes_on_with():
    stage, callback = Stage(), EarlyStopping(patience=5, restore_best_weights=True)
    stage.play(callback, [1, 2, 3])
    callback.on_train_end({"interrupted": True})
    assert stage.counted == 3


@pytest.mark.parametrize("cut", range(1, 6))
def test_early_stopping_remembers_over_an_interruption(cut):
    values = [3, 2, 2.5, 1, 2, 2, 0]
    first, second = (EarlyStopping(patience=2, restore_best_weights=True) for _ in range(2))
    stage = Stage()
    stage.play(first, values[:cut])
    second.load_state_dict(first.state_dict())
    assert cut + len(stage.play(second, values[cut:], start=cut)) == 6
    second.on_train_end({"interrupted": False})
    assert stage.counted == 4


@pytest.mark.parametrize("callback", [EarlyStopping("valid_f1"), ReduceLROnPlateau("val_f1")])
def test_what_is_not_there_cannot_be_monitored(callback):
    message = rf"{type(callback).__name__}: nothing is called 'valid_f1' here; there is lr, valid_loss"
    with pytest.raises(ValueError, match=message):
        Stage().play(callback, [1])


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau])
def test_an_unknown_mode(make):
    with pytest.raises(ValueError, match=r'mode \'best\', wanted "auto", "max" or "min"'):
        make(mode="best")


PLATEAUS = [  # options, losses, factors of the rate in every epoch
    ({"patience": 0}, [3, 2, 2, 1, 1, 1], [1, 1, 1, 0.5, 0.5, 0.25]),
    ({"patience": 1}, [3, 2, 2, 2, 2, 2, 1, 2], [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]),
    ({"patience": 2}, [1, 2, 2, 0.5, 2, 2, 2, 2], [1] * 7 + [0.5]),
    ({"patience": 0, "cooldown": 2}, [1] * 9, [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]),
    ({"patience": 1, "cooldown": 1}, [1] * 9, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
    ({"patience": 0, "cooldown": 3}, [1, 1, 0.5, 0.25, 1, 1], [1, 1, 0.5, 0.5, 0.5, 0.5]),
    ({"patience": 0, "min_lr": 0.04}, [1] * 5, [1, 1, 0.5, 0.4, 0.4]),
    ({"patience": 0, "min_lr": 0.4}, [1] * 3, [1, 1, 1]),
    ({"patience": 0, "min_delta": 0.5}, [3, 2.5, 2.4, 1], [1, 1, 0.5, 0.5]),
    ({"patience": 0}, [1, 1 - 1e-5, 1 - 2e-4, 1], [1, 1, 0.5, 0.5]),
    ({"patience": 0, "min_delta": 0}, [1, 1 - 1e-5, 1 - 1e-5, 1], [1, 1, 1, 0.5]),
    ({"patience": 1}, [1, NAN, NAN, 0.5, NAN], [1, 1, 1, 0.5, 0.5]),
    ({"patience": 0, "mode": "max"}, [1, 2, 2, 3, 3], [1, 1, 1, 0.5, 0.5]),
    ({"patience": 0, "factor": 0.9}, [1] * 4, [1, 1, 0.9, 0.81]),
]


@pytest.mark.parametrize(("options", "losses", "factors"), PLATEAUS)
def test_reduce_on_plateau(options, losses, factors):
    rates = Stage().play(ReduceLROnPlateau(**{"factor": 0.5, **options}), losses)
    np.testing.assert_allclose(rates, 0.1 * np.array(factors), rtol=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize(("options", "losses", "_"), PLATEAUS)
def test_reduce_on_plateau_is_torchs(options, losses, _):
    torch = pytest.importorskip("torch")
    options = {"factor": 0.5, "min_delta": 1e-4, "mode": "min", **options}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    threshold = options.pop("min_delta")
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options, threshold=threshold, threshold_mode="abs")
    rates = []
    for loss in losses:
        rates.append(optimizer.param_groups[0]["lr"])
        theirs.step(loss)
    ours = Stage().play(ReduceLROnPlateau(**options, min_delta=threshold), losses)
    np.testing.assert_allclose(ours, rates, rtol=1e-12)


@pytest.mark.parametrize("cut", range(1, 8))
def test_reduce_on_plateau_remembers_over_an_interruption(cut):
    first, second = (ReduceLROnPlateau(factor=0.5, patience=1, cooldown=1) for _ in range(2))
    stage, losses = Stage(), [1] * 9
    rates = stage.play(first, losses[:cut])
    second.load_state_dict(first.state_dict())
    np.testing.assert_allclose(rates + stage.play(second, losses[cut:]), [0.1] * 3 + [0.05] * 3 + [0.025] * 3)


def test_every_group_is_reduced_as_far_as_it_may_and_the_log_says_when():
    stage = Stage(0.1, 0.01)
    stage.play(ReduceLROnPlateau(factor=0.1, patience=0, min_lr=0.002), [1] * 6)
    assert [group["lr"] for group in stage.optimizer.param_groups] == [0.002, 0.002]
    assert stage.lines == ["learning rate reduced to 0.01", "learning rate reduced to 0.002"]


@pytest.mark.parametrize("factor", [0, 1, -0.5, 2, NAN])
def test_a_factor_that_does_not_reduce(factor):
    with pytest.raises(ValueError, match=rf"ReduceLROnPlateau: factor is {factor}, wanted 0 < factor < 1"):
        ReduceLROnPlateau(factor=factor)


def test_a_schedule_and_a_plateau_exclude_each_other():
    stage = Stage()
    stage.schedule = lambda step: 0.1
    with pytest.raises(ValueError, match=r"ReduceLROnPlateau and a schedule would both set the learning rate; choose"):
        stage.play(ReduceLROnPlateau(), [1])
