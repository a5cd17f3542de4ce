"""The callbacks that need a training: files, the progress bar, a loss that is no number, and callbacks of one's own."""

import math

import numpy as np
import pytest
from trainings import InterruptAt, Interrupted, features, linear, same_arrays, trainer

from minicnn import files, models, nn, optim
from minicnn.data import Loader
from minicnn.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    SaveState,
    TerminateOnNaN,
    checkpoint,
)


class Scripted(Callback):
    """Puts numbers into the history before the callbacks that stand after it look."""

    def __init__(self, **columns):
        self.columns = columns

    def on_epoch_end(self, epoch, logs):
        logs |= {name: values[epoch - 1] for name, values in self.columns.items()}


class Weights(Callback):
    """Keeps the weights of every epoch."""

    def on_train_begin(self, logs):
        self.of = {}

    def on_epoch_end(self, epoch, logs):
        self.of[epoch] = self.trainer.model.state_dict()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


CHECKPOINTS = [  # file name, options, the files after losses 3 2 2 nan 1 and the epochs they hold
    ("m.safetensors", {}, {"m.safetensors": 5}),
    ("m.safetensors", {"save_best_only": True}, {"m.safetensors": 5}),
    ("m.safetensors", {"save_best_only": True, "mode": "max"}, {"m.safetensors": 1}),
    ("m_{epoch}.safetensors", {}, {f"m_{k}.safetensors": k for k in (1, 2, 3, 4, 5)}),
    ("m_{epoch}.safetensors", {"keep": 2}, {"m_4.safetensors": 4, "m_5.safetensors": 5}),
    ("m_{epoch}.safetensors", {"save_best_only": True}, {f"m_{k}.safetensors": k for k in (1, 2, 5)}),
    ("{epoch:03d}.safetensors", {"save_best_only": True, "keep": 2}, {"002.safetensors": 2, "005.safetensors": 5}),
    ("m_{epoch}.safetensors", {"save_best_only": True, "keep": 1}, {"m_5.safetensors": 5}),
    ("m.safetensors", {"save_best_only": True, "monitor": "val_accuracy"}, {"m.safetensors": 2}),
]


@pytest.mark.parametrize(("name", "options", "wanted"), CHECKPOINTS)
def test_model_checkpoint(name, options, wanted, tmp_path):
    script = Scripted(valid_loss=[3, 2, 2, math.nan, 1], valid_accuracy=[0.1, 0.4, 0.3, 0.4, math.nan])
    weights = Weights()
    t = trainer(callbacks=[script, weights, ModelCheckpoint(tmp_path / name, **options)])
    t.fit(features(), epochs=5)
    assert names(tmp_path) == sorted(wanted)
    for file, epoch in wanted.items():
        same_arrays(models.load(tmp_path / file).state_dict(), weights.of[epoch])
        assert files.read_metadata(tmp_path / file)["epoch"] == str(epoch)


def test_the_log_names_the_file_that_was_saved(tmp_path):
    callback = ModelCheckpoint(tmp_path / "model_{epoch}.safetensors", verbose=True, metadata={"who": "me"})
    t = trainer(callbacks=[callback])
    t.fit(features(), epochs=2)
    assert [line for line in t.lines if "saved" in line] == [f"model saved to model_{k}.safetensors" for k in (1, 2)]
    assert files.read_metadata(tmp_path / "model_2.safetensors")["who"] == "me"


def test_braces_in_the_folder_are_just_its_name(tmp_path):
    folder = tmp_path / "{run} {epoch}"
    folder.mkdir()
    trainer(callbacks=[ModelCheckpoint(folder / "m_{epoch}.safetensors")]).fit(features())
    assert names(folder) == ["m_1.safetensors"]


@pytest.mark.parametrize("name", ["m_{loss}", "m_{}", "m_{epoch", "m_{epoch.x}", "{epoch:zz}"])
def test_a_file_name_that_cannot_be_filled_in(name, tmp_path):
    with pytest.raises(ValueError, match=r"ModelCheckpoint: '.+' has braces other than \"\{epoch\}\""):
        ModelCheckpoint(tmp_path / name)


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_nothing(keep, tmp_path):
    with pytest.raises(ValueError, match=rf"ModelCheckpoint: keep is {keep}, wanted at least 1, or None for all"):
        ModelCheckpoint(tmp_path / "m_{epoch}", keep=keep)


def test_a_model_that_cannot_be_saved_is_named(tmp_path):
    class Own(nn.Sequential):
        config = nn.Module.config

    model = Own(nn.Linear(4, 3))
    with pytest.raises(TypeError, match=r"Own has no config\(\)"):
        trainer(model, callbacks=[ModelCheckpoint(tmp_path / "m")]).fit(features())
    assert names(tmp_path) == []


def test_csv_logger_has_the_history_after_every_epoch(tmp_path):
    class Look(Callback):
        texts = []  # noqa: RUF012

        def on_epoch_end(self, epoch, logs):
            self.texts.append((tmp_path / "h.csv").read_text())

    t = trainer(callbacks=[CSVLogger(tmp_path / "h.csv"), Look()])
    history = t.fit(features(), features(7), epochs=3)
    assert [History.from_csv(text).rows for text in Look.texts] == [history.rows[:k] for k in (1, 2, 3)]
    assert Look.texts[0].startswith("epoch,lr,train_loss,train_accuracy,valid_loss,valid_accuracy\n1,0.1,")


@pytest.mark.parametrize(("every", "steps"), [(None, [3, 6]), (1, [1, 2, 3, 3, 4, 5, 6, 6]), (2, [2, 3, 4, 6, 6])])
def test_save_state_at_the_end_of_epochs_and_every_so_many_steps(every, steps, tmp_path):
    saved = []

    class Look(SaveState):
        def on_batch_end(self, batch, logs):
            before = self.path.stat().st_ino if self.path.exists() else None
            super().on_batch_end(batch, logs)
            if self.path.exists() and self.path.stat().st_ino != before:
                self.look()

        def on_epoch_end(self, epoch, logs):
            super().on_epoch_end(epoch, logs)
            self.look()

        def look(self):
            saved.append(checkpoint.read(self.path)["position"]["step"])

    trainer(callbacks=[Look(tmp_path / "s.safetensors", every)]).fit(features(22), epochs=2, batch_size=8)
    assert saved == steps


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training_and_spares_the_last_good_state(bad, tmp_path):
    class BadLoss(nn.CrossEntropyLoss):
        calls = 0

        def __call__(self, prediction, target):
            self.calls += 1
            return super().__call__(prediction, target) if self.calls != 6 else bad

    path, weights = tmp_path / "s.safetensors", Weights()
    stopping = EarlyStopping("train_loss", restore_best_weights=True, patience=3)
    callbacks = [TerminateOnNaN(), weights, stopping, SaveState(path, every=1)]
    t = trainer(loss=BadLoss(), callbacks=callbacks)
    history = t.fit(features(30), epochs=9, batch_size=8)  # 4 batches an epoch
    assert t.lines[1:] == [f"stopped: the loss became {bad} in epoch 2, batch 2"]
    assert (len(history), t.failed, t.stopped) == (1, True, f"the loss became {bad} in epoch 2, batch 2")
    assert checkpoint.read(path)["position"] == {"epoch": 1, "batch": 1, "step": 5, "stopped": None}
    same_arrays(t.model.state_dict(), weights.of[1])


def test_nan_in_the_data_is_met_by_terminate_on_nan():
    x, y = features(30)
    x[17] = math.nan
    t = trainer(callbacks=[TerminateOnNaN()])
    assert len(t.fit(Loader((x, y), 8), epochs=3)) == 0
    assert t.stopped == "the loss became nan in epoch 1, batch 3"


def test_the_progress_bar_counts_images_and_closes(capsys):
    bar = ProgressBar()
    t = trainer(callbacks=[bar])
    t.fit(features(22), epochs=2, batch_size=8)
    shown = capsys.readouterr().err
    assert "epoch 1/2" in shown
    assert "epoch 2/2" in shown
    assert "/22 [" in shown
    assert " images/s" in shown
    assert bar.bar is None


@pytest.mark.parametrize(("drop_last", "images"), [(False, 22), (True, 16)])
def test_the_bar_is_full_and_gone_before_the_log_prints(drop_last, images):
    class Watched(ProgressBar):
        totals = []  # noqa: RUF012

        def close(self):
            if self.bar is not None:
                self.totals.append((self.bar.n, self.bar.total))
            super().close()

    Watched.totals.clear()
    bar, seen = Watched(), []
    t = trainer(callbacks=[bar])
    t.log = lambda line: seen.append(bar.bar)
    t.fit(Loader(features(22), 8, drop_last=drop_last), epochs=2)
    assert seen == [None, None]
    assert Watched.totals == [(images, images)] * 2


def test_the_bar_goes_on_where_the_epoch_was_interrupted(tmp_path):
    path, started = tmp_path / "s.safetensors", []

    class Look(ProgressBar):
        def on_epoch_begin(self, epoch, logs):
            super().on_epoch_begin(epoch, logs)
            started.append((epoch, self.bar.n, self.bar.total))

    with pytest.raises(Interrupted):
        trainer(callbacks=[InterruptAt(5, path)]).fit(features(22), epochs=3, batch_size=8)
    t = trainer(callbacks=[Look()])
    t.resume(path)
    t.fit(features(22), epochs=3, batch_size=8)
    assert started == [(2, 16, 22), (3, 0, 22)]


def test_an_exception_closes_the_bar(tmp_path):
    bar = ProgressBar()
    with pytest.raises(Interrupted):
        trainer(callbacks=[bar, InterruptAt(2, tmp_path / "s")]).fit(features(22), batch_size=8)
    assert bar.bar is None


def test_a_callback_in_kerass_signatures_is_told_everything_in_order():
    class Mine(Callback):
        def __init__(self):
            self.events = []

        def on_train_begin(self, logs=None):
            self.events.append(("train begins", logs, self.trainer.epoch))

        def on_epoch_begin(self, epoch, logs=None):
            self.events.append(("epoch begins", epoch, logs))

        def on_batch_end(self, batch, logs=None):
            self.events.append(("batch", batch, logs["step"], logs["size"], isinstance(logs["loss"], float)))

        def on_epoch_end(self, epoch, logs=None):
            self.events.append(("epoch", epoch, logs == self.trainer.history.rows[-1], list(logs)))

        def on_train_end(self, logs=None):
            self.events.append(("train ends", logs))

    mine = Mine()
    trainer(callbacks=[mine]).fit(features(22), features(6), epochs=2, batch_size=16)
    row = ["epoch", "lr", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy"]
    begins = {"images": 22, "images_done": 0, "epochs": 2}
    assert mine.events == [
        ("train begins", {"epochs": 2}, 0),
        ("epoch begins", 1, begins),
        ("batch", 1, 1, 16, True),
        ("batch", 2, 2, 6, True),
        ("epoch", 1, True, row),
        ("epoch begins", 2, begins),
        ("batch", 1, 3, 16, True),
        ("batch", 2, 4, 6, True),
        ("epoch", 2, True, row),
        ("train ends", {"interrupted": False}),
    ]


def test_a_callback_may_stop_the_training_after_the_epoch_under_way():
    class Enough(Callback):
        def on_batch_end(self, batch, logs):
            if logs["step"] == 4:
                self.trainer.stop("enough")

    t = trainer(callbacks=[Enough()])
    assert len(t.fit(features(22), epochs=9, batch_size=8)) == 2
    assert (t.step, t.lines[-1]) == (6, "stopped: enough")


def test_the_end_is_told_when_an_exception_ends_the_training(tmp_path):
    class End(Callback):
        logs = None

        def on_train_end(self, logs):
            self.logs = logs

    end = End()
    with pytest.raises(Interrupted):
        trainer(callbacks=[InterruptAt(1, tmp_path / "s"), end]).fit(features())
    assert end.logs == {"interrupted": True}


def test_plateau_and_training_go_together():
    x, y = features()
    model = linear()
    t = trainer(model, optimizer=optim.SGD(model.parameters(), lr=0.5), callbacks=[ReduceLROnPlateau(patience=0)])
    history = t.fit((x, y), (x, np.roll(y, 1)), epochs=4)  # what is learnt is wrong for the validation
    assert history["lr"][:2] == [0.5, 0.5]
    assert history["lr"][2:] == pytest.approx([0.05, 0.005])
