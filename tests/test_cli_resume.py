"""`minicnn train --resume`: what is refused, what is done over, and what Ctrl-C leaves behind."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import QUICK, call, contents, refused, write_faces
from fer2013_files import npz

from minicnn import data
from minicnn.cli import runs
from minicnn.train import Trainer

pytestmark = pytest.mark.usefixtures("place")


CHANGES = [
    ("--seed 5", "seed was 0, is 5"),
    ("--batch-size 8", "batch_size was 12, is 8"),
    ("--epochs 3", "epochs was 2, is 3"),
    ("--lr 0.1", "lr was 0.001, is 0.1"),
    ("--optimizer sgd", "optimizer was 'adam', is 'sgd'"),
    ("--augment flip", "augment was 'none', is 'flip'"),
    ("--schedule cosine", "schedule was 'none', is 'cosine'"),
    ("--model simple_cnn", "model was 'leaky_bn_cnn', is 'simple_cnn'"),
    ("--data others.csv", "data was {'name': 'fer2013', 'digest': 'sha256:"),
    ("--optimizer sgd --seed 5", "optimizer was 'adam', is 'sgd'; seed was 0, is 5"),
]


def test_another_training_is_not_resumed_and_the_same_is_done_over(place, capsys):
    words = ("train", "--data", "faces.csv", *QUICK)
    call(capsys, *words)
    before = contents("run")
    write_faces(place, 30, seed=8, name="others.csv")
    for changed, message in CHANGES:
        line = refused(capsys, *words, "--resume", *changed.split())
        assert line.startswith("minicnn train: run holds another run: ")
        assert message in line
    assert refused(capsys, *words) == (
        "minicnn train: run holds a run; choose another --out, or --resume to go on with it\n"
    )
    assert contents("run") == before
    said, _ = call(capsys, *words, "--resume", "--checkpoint-every", 1)
    assert "resumed after 2 epochs and 0 batches" in said
    assert contents("run") == before


def test_the_digest_tells_data_apart_and_not_where_they_lie(place):
    faces = data.synthetic_faces(30, seed=3)
    changed = []
    for name in ("images", "labels", "usage"):
        array = getattr(faces, name).copy()
        array[-1] = "Training" if name == "usage" else array[0] + 1
        changed.append(replace(faces, **{name: array}))
    changed += [replace(faces, class_names=tuple("abcdefg")), faces.subset(np.arange(29))]
    digests = [runs.digest(d) for d in (faces, *changed)]
    assert len(set(digests)) == 6
    again = npz(name="faces.npz")(place, replace(faces, notes=("elsewhere",)))
    assert runs.digest(data.load_fer2013(again)) == runs.digest(data.load_fer2013("faces.csv")) == digests[0]


@pytest.mark.usefixtures("small")
def test_resume_without_a_run_begins_one_and_says_so(capsys):
    call(capsys, "train", "--data", "faces.csv", "--epochs", 1, "--out", "plain")
    Path("resumed/checkpoints").mkdir(parents=True)
    for name in (".last.safetensors.7.0a1b2c3d.tmp", "checkpoints/.model_1.safetensors.7.0a1b2c3d.tmp"):
        (Path("resumed") / name).write_bytes(b"what a killed process was writing")
    said, _ = call(capsys, "train", "--data", "faces.csv", "--epochs", 1, "--out", "resumed", "--resume")
    assert "nothing to resume yet: starting from the beginning" in said
    assert contents("plain") == contents("resumed")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], "run/last.safetensors: not a whole safetensors file"),
        (lambda b: b[:40], "run/last.safetensors: not a whole safetensors file"),
        (lambda b: b"", "run/last.safetensors: not a whole safetensors file"),
        (
            lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:],
            "run/last.safetensors: damaged: its contents do not fit its ch",
        ),
        (
            lambda b: Path("run/best.safetensors").read_bytes(),
            "run/last.safetensors: not a checkpoint of a training (mi",
        ),
    ],
    ids=["cut", "head", "empty", "a bit", "another file"],
)
def test_a_damaged_state(damage, message, capsys):
    words = ("train", "--data", "faces.csv", *QUICK)
    call(capsys, *words)
    state = Path("run/last.safetensors")
    state.write_bytes(damage(state.read_bytes()))
    _, err = call(capsys, *words, "--resume", code=2)
    assert message in err
    assert "Traceback" not in err


def press_ctrl_c(trainer, step, times):
    """Send SIGINT to this process so often in the middle of one step: after the backward, before the update."""
    update, calls = trainer.optimizer.step, []

    def pressed():
        calls.append(1)
        for _ in range(times if len(calls) == step else 0):
            os.kill(os.getpid(), signal.SIGINT)
        update()

    trainer.optimizer.step = pressed


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("step", "times", "done"),
    [
        (1, 1, "0 epochs and 1 batches"),
        (3, 1, "1 epochs and 1 batches"),
        (4, 1, "1 epochs and 2 batches"),
        (3, 2, "1 epochs and 0 batches"),  # the second one ends it at once, with the state of the epoch before
    ],
)
def test_ctrl_c_in_the_middle_of_a_step_can_be_resumed_to_the_same_bits(step, times, done, monkeypatch, capsys):
    words = ("train", "--data", "faces.csv", "--augment", "flip", *QUICK[:-1])
    call(capsys, *words, "whole")
    fit = Trainer.fit

    def interrupted(self, *args):
        press_ctrl_c(self, step, times)
        return fit(self, *args)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", interrupted)
        out, _ = call(capsys, *words, "run", code=130)
    assert f"interrupted in epoch {(step + 1) // 2}; the same command with --resume goes on from here" in out
    assert signal.getsignal(signal.SIGINT) is before
    out, _ = call(capsys, *words, "run", "--resume")
    assert f"resumed after {done}\n" in out
    assert contents("run") == contents("whole")
