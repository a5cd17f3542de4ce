"""A training that was broken off and taken up again ends in the same bits as one that ran through."""

import functools

import numpy as np
import pytest
from trainings import InterruptAt, Interrupted, convnet, features, linear, pictures, same_arrays, trainer

from minicnn import nn, optim, schedules
from minicnn.data import Loader
from minicnn.data.augment import RandomHorizontalFlip
from minicnn.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ReduceLROnPlateau,
    SaveState,
    TerminateOnNaN,
)

DATA = pictures(50)
TRAIN, VALID = DATA.split("Training"), DATA.split("PublicTest")  # 37 and 13: batches of 8, 8, 8, 8 and 5
STEPS, EPOCHS = 5, 3


class Tally(Callback):
    """A callback of one's own whose state is empty at first."""

    def __init__(self):
        self.losses = []

    def on_batch_end(self, batch, logs):
        self.losses.append(logs["loss"])

    def state_dict(self):
        return {"losses": self.losses} if self.losses else {}

    def load_state_dict(self, state):
        self.losses = state.get("losses", [])


def everything(folder, *extra, model_seed=0):
    """A Trainer with all that has a state, writing into folder."""
    folder.mkdir(exist_ok=True)
    model = convnet(model_seed)
    callbacks = [
        TerminateOnNaN(),
        Tally(),
        EarlyStopping(patience=9, restore_best_weights=True, monitor="valid_accuracy", mode="min"),
        ReduceLROnPlateau(factor=0.5, patience=0, min_delta=10, cooldown=1),
        ModelCheckpoint(folder / "model_{epoch}.safetensors", "valid_accuracy", save_best_only=True, keep=1),
        CSVLogger(folder / "history.csv"),
        *extra,
    ]
    return trainer(model, optimizer=optim.Adam(model.parameters(), lr=0.03), callbacks=callbacks, seed=3)


def batches():
    return Loader(TRAIN, 8, shuffle=True, augment=RandomHorizontalFlip(), seed=3)


def ended(t, folder):
    """{what: value} of all that a training leaves behind, files as bytes."""
    t.save_checkpoint(folder / "state.safetensors")
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return files | {"history": t.history.rows, "tally": t.callbacks[1].losses}


def same(got, wanted):
    assert list(got) == list(wanted)
    assert [name for name in wanted if got[name] != wanted[name]] == []


@functools.cache
def undisturbed(folder):
    t = everything(folder)
    t.fit(batches(), VALID, EPOCHS)
    return ended(t, folder)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))


def break_off(folder, step, resume=None):
    """Train until the end of a step and leave its state behind."""
    state = folder.parent / f"at_{step}.safetensors"
    t = everything(folder, InterruptAt(step, state), model_seed=step if resume else 0)
    if resume:
        t.resume(resume)
    with pytest.raises(Interrupted):
        t.fit(batches(), VALID, EPOCHS)
    return state


def go_on(folder, state):
    t = everything(folder, model_seed=77)
    t.resume(state)
    t.fit(batches(), VALID, EPOCHS)
    return ended(t, folder)


def test_the_undisturbed_training_moves_everything_that_has_a_state(wanted):
    rows = wanted["history"]
    assert [len(rows), len(wanted["tally"])] == [EPOCHS, EPOCHS * STEPS]
    assert len({row["lr"] for row in rows}) == 2  # the plateau was met
    assert rows[0]["valid_accuracy"] != rows[-1]["valid_accuracy"]
    best = max(rows, key=lambda row: row["valid_accuracy"])["epoch"]
    assert list(wanted) == ["history.csv", f"model_{best}.safetensors", "state.safetensors", "history", "tally"]


@pytest.mark.parametrize("step", range(1, EPOCHS * STEPS + 1))
def test_broken_off_after_any_step(step, wanted, tmp_path):
    same(go_on(tmp_path / "run", break_off(tmp_path / "run", step)), wanted)


@pytest.mark.parametrize("steps", [(2, 3), (3, 5, 6), (4, 9, 10, 14)])
def test_broken_off_several_times(steps, wanted, tmp_path):
    state = None
    for step in steps:
        state = break_off(tmp_path / "run", step, state)
    same(go_on(tmp_path / "run", state), wanted)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_broken_off_at_the_end_of_an_epoch(epoch, wanted, tmp_path):
    class End(Callback):
        def on_epoch_end(self, number, logs):
            if number == epoch:
                raise Interrupted

    state = tmp_path / "state.safetensors"
    t = everything(tmp_path / "run", SaveState(state), End())
    with pytest.raises(Interrupted):
        t.fit(batches(), VALID, EPOCHS)
    same(go_on(tmp_path / "run", state), wanted)


def test_the_state_may_be_saved_after_the_exception_too(wanted, tmp_path):
    class Break(Callback):
        def on_batch_end(self, batch, logs):
            if logs["step"] == 12:
                raise Interrupted

    t = everything(tmp_path / "run", Break())
    with pytest.raises(Interrupted):
        t.fit(batches(), VALID, EPOCHS)
    t.save_checkpoint(tmp_path / "state.safetensors")  # the weights are not those of the best epoch by now
    same(go_on(tmp_path / "run", tmp_path / "state.safetensors"), wanted)


def test_a_fit_that_broke_off_goes_on_by_itself(wanted, tmp_path):
    class Break(Callback):
        def on_batch_end(self, batch, logs):
            if logs["step"] == 8:
                raise Interrupted

    t = everything(tmp_path / "run", Break())
    with pytest.raises(Interrupted):
        t.fit(batches(), VALID, EPOCHS)
    t.fit(batches(), VALID, EPOCHS - t.epoch)
    same(ended(t, tmp_path / "run"), wanted)


def test_the_end_can_be_resumed_and_is_the_end(wanted, tmp_path):
    once = go_on(tmp_path / "run", break_off(tmp_path / "run", 15))
    (tmp_path / "end.safetensors").write_bytes(once["state.safetensors"])
    same(go_on(tmp_path / "run", tmp_path / "end.safetensors"), wanted)


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.05, lr_decay=0.01),
    "Adadelta": lambda p: optim.Adadelta(p),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_with_groups_and_a_schedule(name, tmp_path):
    def make(first_step=0):
        model = convnet(first_step)
        heads = list(model[7].parameters())
        rest = [p for p in model.parameters() if p not in heads]
        optimizer = OPTIMIZERS[name]([{"params": rest}, {"params": heads, "lr": 0.02}])
        return trainer(model, optimizer=optimizer, schedule=schedules.one_cycle(0.05, 15), seed=1)

    whole, broken, taken_up = make(), make(), make(9)
    whole.fit(batches(), VALID, EPOCHS)
    broken.callbacks.append(InterruptAt(7, tmp_path / "s.safetensors"))
    with pytest.raises(Interrupted):
        broken.fit(batches(), VALID, EPOCHS)
    taken_up.optimizer.param_groups[1]["lr"] = taken_up._rates[1] = 99.0  # what the file says is what counts
    taken_up.resume(tmp_path / "s.safetensors")
    taken_up.fit(batches(), VALID, EPOCHS)
    same_arrays(taken_up.model.state_dict(), whole.model.state_dict())
    assert taken_up.history.rows == whole.history.rows
    for t in (whole, taken_up):
        t.save_checkpoint(tmp_path / f"{t is whole}.safetensors")
    assert (tmp_path / "True.safetensors").read_bytes() == (tmp_path / "False.safetensors").read_bytes()


def test_soft_targets_and_a_model_with_plain_features(tmp_path):
    x, y = features(30)
    data = (x, np.eye(3, dtype="float32")[y] * 0.8 + 0.1)

    def run(interrupt=None, resume=None):
        t = trainer(linear(), callbacks=[InterruptAt(interrupt, tmp_path / "s.safetensors")] if interrupt else [])
        if resume:
            t.resume(resume)
        t.fit(data, data, 3, batch_size=7)
        return t

    whole = run()
    with pytest.raises(Interrupted):
        run(interrupt=8)
    again = run(resume=tmp_path / "s.safetensors")
    same_arrays(again.model.state_dict(), whole.model.state_dict())
    assert again.history.rows == whole.history.rows


@pytest.mark.parametrize("step", [3, 7, 12, 17])
def test_early_stopping_comes_when_it_would_have_come(step, tmp_path):
    x, y = features(20)
    valid = (x, (y + 1) % 3)  # the better it learns, the worse it does

    def run(*extra, resume=None):
        callbacks = [
            EarlyStopping(patience=3, restore_best_weights=True),
            *extra,
            SaveState(tmp_path / "end.safetensors"),
        ]
        t = trainer(linear(), callbacks=callbacks)
        if resume:
            t.resume(resume)
        t.fit((x, y), valid, 50, batch_size=4)
        return t

    whole = run()
    assert (whole.epoch, whole.stopped) == (4, "valid_loss has not improved for 3 epochs")
    with pytest.raises(Interrupted):
        run(InterruptAt(step, tmp_path / "s.safetensors"))
    again = run(resume=tmp_path / "s.safetensors")
    assert (again.stopped, again.history.rows) == (whole.stopped, whole.history.rows)
    same_arrays(again.model.state_dict(), whole.model.state_dict())
    ended = run(resume=tmp_path / "end.safetensors")
    assert (ended.stopped, ended.step) == (whole.stopped, whole.step)  # what had stopped stays so
    same_arrays(ended.model.state_dict(), whole.model.state_dict())
    ended.fit((x, y), valid, 1, batch_size=4)  # until someone asks for more
    assert ended.epoch == 5


def saved(tmp_path, model=None, optimizer=optim.SGD, callbacks=(), seed=0):
    model = convnet() if model is None else model
    t = trainer(model, optimizer=optimizer(model.parameters(), lr=0.1), callbacks=callbacks, seed=seed)
    return t, tmp_path / "s.safetensors"


def without_dropout():
    layers = list(convnet())
    layers[6] = nn.ReLU()
    return nn.Sequential(*layers)


OTHERS = [
    ({"seed": 1}, r"belongs to another training: \['SGD', '2 random layers', 'seed 0'\], wanted .*seed 1"),
    ({"optimizer": optim.Adam}, r"\['SGD', .*\], wanted \['Adam', '2 random layers'\], seed 0"),
    ({"callbacks": [EarlyStopping()]}, r"wanted \['SGD', '2 random layers', 'EarlyStopping'\], seed 0"),
    (
        {"model": without_dropout()},
        r"\['SGD', '2 random layers', 'seed 0'\], wanted \['SGD', '1 random layers'\], seed",
    ),
    (
        {"model": nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.1), nn.Linear(4, 3))},
        r"load_state_dict: 0.bias: unexpected; .*2.weight: missing; ",
    ),
]


@pytest.mark.parametrize(("changes", "message"), OTHERS)
def test_another_training_is_refused(changes, message, tmp_path):
    t, path = saved(tmp_path)
    t.save_checkpoint(path)
    other, _ = saved(tmp_path, **changes)
    before = other.model.state_dict()
    with pytest.raises(ValueError, match=message):
        other.resume(path)
    same_arrays(other.model.state_dict(), before)
    assert (other.epoch, other.step) == (0, 0)


def test_fewer_data_than_the_state_has_seen_are_refused(tmp_path):
    t = everything(tmp_path / "run")
    t.resume(break_off(tmp_path / "run", 4))
    with pytest.raises(ValueError, match=r"Loader: start is 4, but an epoch has 2 batches"):
        t.fit(Loader(VALID, 8), VALID, EPOCHS)


def test_a_damaged_state_is_refused(tmp_path):
    t, path = saved(tmp_path)
    t.save_checkpoint(path)
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"s.safetensors: damaged: its contents do not fit its checksum"):
        t.resume(path)
