"""`minicnn train`: its options, its splits, and a training that fails."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from commands import QUICK, call, refused
from fer2013_files import course, npz

from minicnn import data, nn, optim, schedules
from minicnn.cli import train
from minicnn.data.dataset import FER_CLASSES, Dataset
from minicnn.train import History, Trainer, checkpoint

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture
def seen(monkeypatch):
    """The arguments of every Trainer and fit."""
    calls, make, fit = [], Trainer.__init__, Trainer.fit

    def init(self, *args, **kwargs):
        calls.append(kwargs | {"optimizer": args[2]})
        make(self, *args, **kwargs)

    def noted(self, loader, valid, epochs):
        calls[-1] |= {"loader": loader, "valid": valid, "epochs": epochs}
        return fit(self, loader, valid, epochs)

    monkeypatch.setattr(Trainer, "__init__", init)
    monkeypatch.setattr(Trainer, "fit", noted)
    return calls


@pytest.mark.usefixtures("small")
def test_every_option_reaches_the_training(seen, capsys):
    words = "--optimizer sgd --lr 0.05 --augment flip --schedule cosine --seed 7 --checkpoint-every 2"
    call(capsys, "train", "--data", "faces.csv", *QUICK, *words.split())
    made = seen[0]
    assert type(made["optimizer"]) is optim.SGD
    assert made["schedule"] == schedules.cosine(0.05, 4)  # 24 faces in 2 batches, twice
    assert (made["seed"], made["device"], made["epochs"]) == (7, "cpu", 2)
    loader = made["loader"]
    assert (loader.n, loader.batch_size, loader.seed, loader.shuffle, loader.drop_last) == (24, 12, 7, True, False)
    assert type(loader.augment).__name__ == "RandomHorizontalFlip"
    assert len(made["valid"]) == 6
    names = ["TerminateOnNaN", "ModelCheckpoint", "ModelCheckpoint", "CSVLogger", "ProgressBar", "SaveState"]
    assert [type(c).__name__ for c in made["callbacks"]] == [*names, "Interruption"]
    assert made["callbacks"][5].every == 2
    config = json.loads(Path("run/config.json").read_text())
    said = {"lr": 0.05, "optimizer": "sgd", "augment": "flip", "schedule": "cosine", "seed": 7, "epochs": 2}
    assert {k: config[k] for k in said} == said


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", train.OPTIMIZERS)
def test_an_optimiser_keeps_its_own_rate(name, seen, capsys):
    call(capsys, "train", "--data", "faces.csv", *QUICK, "--optimizer", name, "--schedule", "plateau")
    made = seen[0]["optimizer"]
    assert type(made) is train.OPTIMIZERS[name]
    rate = type(made)(nn.Linear(1, 1).parameters()).param_groups[0]["lr"]
    assert json.loads(Path("run/config.json").read_text())["lr"] == rate
    assert "ReduceLROnPlateau" in [type(c).__name__ for c in seen[0]["callbacks"]]
    assert History.from_csv(Path("run/history.csv").read_text())["lr"] == [rate, rate]


@pytest.mark.usefixtures("small")
def test_one_cycle(seen, capsys):
    call(capsys, "train", "--data", "faces.csv", *QUICK, "--schedule", "one_cycle")
    assert seen[0]["schedule"] == schedules.one_cycle(0.001, 4)


@pytest.mark.usefixtures("small")
def test_without_public_test_a_tenth_is_held_out_by_the_seed(place, seen, capsys):
    faces = data.synthetic_faces(40, seed=1, usage="Training")
    npz(name="faces.npz")(place, faces)
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        words = ("--epochs", 1, "--seed", seed, "--out", out)
        said, _ = call(capsys, "train", "--data", "faces.npz", *words)
        assert ", n = 4, a held-out tenth of Training)" in said
    held = [made["valid"].images for made in seen]
    assert np.array_equal(held[0], held[1])
    assert not np.array_equal(held[0], held[2])
    for made in seen:
        both = [image.tobytes() for image in (*made["loader"].x, *made["valid"].images)]
        assert sorted(both) == sorted(image.tobytes() for image in faces.images)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("labels", "valid"), [(True, "n = 20, PublicTest"), (False, "n = 8, a held-out tenth of Tr")])
def test_the_course_folder_trains_with_and_without_labels_of_its_test(labels, valid, place, seen, capsys):
    (place / "course").mkdir()
    course(labels=labels)(place / "course", data.synthetic_faces(100, seed=1))
    said, _ = call(capsys, "train", "--data", "course", "--epochs", 1, "--out", "run")
    assert valid in said
    assert (seen[0]["valid"].labels >= 0).all()
    assert seen[0]["loader"].n == (80 if labels else 72)


@pytest.mark.usefixtures("small")
def test_drop_duplicates(place, seen, capsys):
    faces = data.synthetic_faces(30)
    images = faces.images.copy()
    images[:5] = images[25:]  # of Training, copies of the last PublicTest ones
    npz(name="faces.npz")(place, Dataset(images, faces.labels, faces.usage, FER_CLASSES))
    said, _ = call(capsys, "train", "--data", "faces.npz", *QUICK, "--drop-duplicates")
    note = "5 Training images left out that are exact copies of images of other splits"
    assert note in said
    assert note in json.loads(Path("run/metrics.json").read_text())["notes"]
    assert seen[0]["loader"].n == 19
    config = json.loads(Path("run/config.json").read_text())
    assert (config["drop_duplicates"], config["data"]["training"]) == (True, 19)
    line = refused(capsys, "train", "--data", "faces.npz", *QUICK, "--resume")
    assert "drop_duplicates was True, is False" in line


def poison(monkeypatch, step):
    """Let the training's loss be NaN at one step."""
    right, calls = nn.CrossEntropyLoss.__call__, []

    def wrong(self, prediction, target):
        calls.append(1)
        loss = right(self, prediction, target)
        return float("nan") if len(calls) == step else loss

    monkeypatch.setattr(nn.CrossEntropyLoss, "__call__", wrong)


@pytest.mark.usefixtures("small")
def test_a_loss_that_becomes_nan_ends_the_run_with_its_best_model(monkeypatch, capsys):
    poison(monkeypatch, 5)  # two batches, a validation, two batches
    out, _ = call(capsys, "train", "--data", "faces.csv", *QUICK, code=1)
    assert "stopped: the loss became nan in epoch 2, batch 2" in out
    assert "best validation accuracy" in out
    assert Path("run/report.html").exists()
    assert checkpoint.read("run/last.safetensors")["position"]["epoch"] == 1


@pytest.mark.usefixtures("small")
def test_a_loss_that_is_nan_from_the_first_leaves_no_model(monkeypatch, capsys):
    poison(monkeypatch, 1)
    out, _ = call(capsys, "train", "--data", "faces.csv", *QUICK, code=1)
    assert "stopped: the loss became nan in epoch 1, batch 1" in out
    assert "no epoch ended with a model worth keeping; try a smaller --lr" in out
    assert not Path("run/best.safetensors").exists()


@pytest.mark.usefixtures("small")
def test_weights_that_become_nan_in_the_last_step_are_no_best_model(monkeypatch, capsys):
    step = optim.Adam.step

    def poisoned(self):
        step(self)
        for group in self.param_groups:
            group["params"][-1].data = group["params"][-1].data * np.float32("nan")

    monkeypatch.setattr(optim.Adam, "step", poisoned)
    words = ("--epochs", "2", "--batch-size", "24", "--out", "run")
    out, _ = call(capsys, "train", "--data", "faces.csv", *words, code=1)
    assert "Epoch: 1, valid Loss: nan, valid Acc: nan" in out
    assert "stopped: the loss became nan in epoch 2, batch 1" in out
    assert "no epoch ended with a model worth keeping" in out


@pytest.mark.usefixtures("small")
def test_a_thread_may_train_too(capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(call(capsys, "train", "--data", "faces.csv", *QUICK)))
    thread.start()
    thread.join()
    assert "look at " in codes[0][0]
