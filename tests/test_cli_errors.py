"""A user's mistake is told in one line with exit code 2, and leaves nothing behind."""

import json
import os

import numpy as np
import pytest
from commands import call, refused, write_faces
from fer2013_files import images, npz

from minicnn import cli, data, models
from minicnn.cli import runs
from minicnn.data.dataset import FER_CLASSES, Dataset

TRAIN = "minicnn train: "


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder of one's own to be in, with a small data set and a file that is none."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_faces(tmp_path / "here", 20, name="faces.csv")
    (tmp_path / "here" / "text").write_text("no data\n")
    (tmp_path / "here" / "nothing").write_text("")
    (tmp_path / "here" / "empty").mkdir()
    return tmp_path / "here"


OPTIONS = [
    ("--epochs x", "argument --epochs: invalid int value: 'x'; see minicnn train --help"),
    ("--epochs 0", "--epochs is 0, wanted at least 1"),
    ("--epochs -3", "--epochs is -3, wanted at least 1"),
    ("--batch-size 0", "--batch-size is 0, wanted at least 1"),
    ("--batch-size 1.5", "argument --batch-size: invalid int value: '1.5'; see minicnn train --help"),
    ("--seed -1", "--seed is -1, wanted at least 0"),
    ("--lr 0", "--lr is 0.0, wanted a number above 0"),
    ("--lr -0.1", "--lr is -0.1, wanted a number above 0"),
    ("--lr nan", "--lr is nan, wanted a number above 0"),
    ("--lr inf", "Adam: lr is inf; wanted a finite number, 0 or more"),
    ("--lr fast", "argument --lr: invalid float value: 'fast'; see minicnn train --help"),
    ("--checkpoint-every 0", "--checkpoint-every is 0, wanted at least 1"),
    ("--optimizer adm", "argument --optimizer: invalid choice: 'adm' (choose from "),
    ("--augment all", "argument --augment: invalid choice: 'all' (choose from "),
    ("--schedule linear", "argument --schedule: invalid choice: 'linear' (choose from "),
    ("--device gpu", 'device \'gpu\': wanted "cpu", "cuda" or "cuda:<index>"'),
    ("--model leaky_bn_cn", "no model is named 'leaky_bn_cn'; did you mean leaky_bn_cnn? There are: "),
    ("--model zzz", "no model is named 'zzz'. There are: "),
    ("--data none.csv", "none.csv: no such file or folder"),
    ("--data text", "text: line 1: no column "),
    ("--data nothing", "nothing: an empty file"),
    ("--data empty", "empty: no images found; wanted train/<class>/*.png or .jpg"),
    ("--out text/run", "text/run"),
    ("--epoch 3", "unrecognized arguments: --epoch 3; see minicnn --help"),
    ("--dat faces.csv", "unrecognized arguments: --dat faces.csv; see minicnn --help"),
    ("faces.csv", "unrecognized arguments: faces.csv; see minicnn --help"),
]


@pytest.mark.parametrize(("words", "message"), OPTIONS)
def test_train(words, message, place, capsys):
    before = sorted(place.rglob("*"))
    words = words.split() if "--data" in words else ["--data", "faces.csv", *words.split()]
    line = refused(capsys, "train", *words)
    assert message in line
    assert sorted(place.rglob("*")) == before


def some(n, usage, labels=None):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (n, 48, 48, 1)).astype(np.uint8)
    labels = np.arange(n) % 7 if labels is None else np.full(n, labels)
    return Dataset(pictures, labels, np.array([usage] * n), FER_CLASSES)


UNFIT = [
    (some(9, "Training"), "9 Training images are too few to hold a tenth out for validation"),
    (some(9, "PublicTest"), "the data have no Training split to train on; there is PublicTest"),
    (some(9, "PrivateTest"), "the data have no Training split to train on; there is PrivateTest"),
    (some(9, "Training", labels=-1), "the data have no Training split to train on; there is nothing"),
]


@pytest.mark.parametrize(("dataset", "message"), UNFIT)
def test_data_that_cannot_be_trained_on(dataset, message, place, capsys):
    npz(name="faces.npz")(place, dataset)
    assert refused(capsys, "train", "--data", "faces.npz") == f"{TRAIN}{message}\n"
    assert not (place / "runs").exists()


def test_a_folder_that_holds_a_run_is_refused_before_the_data_are_read(place, capsys):
    (place / "run").mkdir()
    (place / "run" / "config.json").write_text("{}")
    line = refused(capsys, "train", "--data", "none.csv", "--out", "run")
    assert line == f"{TRAIN}run holds a run; choose another --out, or --resume to go on with it\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "run/config.json: not a JSON file (Expecting property name enclosed"),
        ("[]", "run/config.json: holds a list, wanted a run's options by name"),
        ("{}", "run holds another run: minicnn was None, is '"),
    ],
)
def test_a_damaged_configuration_cannot_be_resumed(text, message, place, capsys):
    (place / "run").mkdir()
    (place / "run" / "config.json").write_text(text)
    assert message in refused(capsys, "train", "--data", "faces.csv", "--out", "run", "--resume")
    assert (place / "run" / "config.json").read_text() == text


def model_file(place, **metadata):
    named = {k: json.dumps(v) for k, v in metadata.items()}
    models.save(models.build("leaky_bn_cnn", width=0.05, rng=0), place / "model", named)


RUNS = [
    ("evaluate none", "none: no such file"),
    ("evaluate text", "text: not a whole safetensors file"),
    ("evaluate empty", "empty: holds no run (no config.json)"),
    ("evaluate begun", "begun: holds no model yet (no best.safetensors); has its first epoch ended?"),
    ("evaluate damaged", "damaged/best.safetensors: damaged: its contents do not fit its checksum"),
    ("evaluate cut", "cut/best.safetensors: not a whole safetensors file"),
    ("evaluate model --data none", "none: no such file or folder"),
    ("evaluate model --data faces.csv --split Test", "no split 'Test' here; there is Training, PublicTest"),
    ("evaluate", "the following arguments are required: RUN; see minicnn evaluate --help"),
    ("predict none text", "none: no such file"),
    ("predict empty text", "empty: holds no run (no config.json)"),
    ("predict begun text", "begun: holds no model yet (no best.safetensors)"),
    ("predict model --data faces.csv --csv none/out.csv", "No such file or directory"),
    ("report none", "none: holds no run (no config.json)"),
    ("report empty", "empty: holds no run (no config.json)"),
    ("models leaky", "no model is named 'leaky'"),
    ("models leaky_bn_cnn --input 8 8 1", "leaky_bn_cnn: input_size"),
    ("models leaky_bn_cnn --input 48 48", "argument --input: expected 3 arguments; see minicnn models --help"),
    ("gradcheck conv2", "no op is named 'conv2'; did you mean conv2d?"),
    ("gradcheck zzz", "no op is named 'zzz'"),
    ("gradcheck relu --seed x", "argument --seed: invalid int value: 'x'; see minicnn gradcheck --help"),
    ("doctor now", "unrecognized arguments: now; see minicnn --help"),
    ("", "the following arguments are required: COMMAND; see minicnn --help"),
    ("trian", "argument COMMAND: invalid choice: 'trian' (choose from "),
]


@pytest.mark.parametrize(("words", "message"), RUNS)
def test_other_commands(words, message, place, capsys):
    model_file(place)
    for name in ("begun", "damaged", "cut"):
        (place / name).mkdir()
        (place / name / "config.json").write_text("{}")
    content = bytearray((place / "model").read_bytes())
    (place / "cut" / "best.safetensors").write_bytes(content[:-1])
    content[-9] ^= 1
    (place / "damaged" / "best.safetensors").write_bytes(content)
    assert message in refused(capsys, *words.split())


def test_a_model_that_knows_other_classes_or_sizes(place, capsys):
    model_file(place, class_names=["no", "yes"])
    line = refused(capsys, "evaluate", "model", "--data", "faces.csv")
    assert "the model knows the classes ['no', 'yes'], the data have ['angry', 'disgust', " in line
    model_file(place, input_shape=[32, 32, 1])
    line = refused(capsys, "evaluate", "model", "--data", "faces.csv")
    assert "the images are (48, 48, 1) (height, width, channels), the model wants (32, 32, 1)" in line
    model_file(place, class_names=FER_CLASSES)
    letters = images(spelling="abcdefg")(place / "empty", some(7, "PublicTest"))
    line = refused(capsys, "evaluate", "model", "--data", letters)
    assert "'surprise', 'neutral'], the data have ['a', 'b', 'c', 'd', 'e', 'f', 'g']" in line


def test_the_state_of_a_training_is_no_model(place, capsys):
    call(capsys, *"train --data faces.csv --epochs 1 --out run".split())
    line = refused(capsys, "evaluate", "run/last.safetensors")
    assert "last.safetensors: not a model saved by minicnn.save (minicnn training 1, wanted 'minicnn 1')" in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(place, capsys):
    (place / "faces.csv").chmod(0)
    assert "Permission denied" in refused(capsys, "train", "--data", "faces.csv")


ERRORS = [
    (PermissionError(13, "Permission denied", "faces.csv"), "[Errno 13] Permission denied: 'faces.csv'"),
    (ValueError("several\n  lines   and spaces"), "several lines and spaces"),
    (RuntimeError("CuPy is gone"), "CuPy is gone"),
    (MemoryError(), "MemoryError"),
]


@pytest.mark.parametrize(("error", "said"), ERRORS)
def test_what_goes_wrong_is_told_in_one_line(error, said, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(runs, "read_data", fail)
    assert refused(capsys, "train") == f"{TRAIN}{said}\n"
    monkeypatch.setenv("MINICNN_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.main(["train"])


def test_ctrl_c_before_the_training_begins(monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "read_data", interrupt)
    assert call(capsys, "train", code=130)[1] == "\nminicnn train: interrupted\n"


def test_the_word_synthetic_draws_faces(monkeypatch):
    monkeypatch.setattr(runs, "SYNTHETIC_FACES", 30)
    got = runs.read_data("synthetic")
    assert np.array_equal(got.images, data.synthetic_faces(30).images)
    assert runs.read_data("synthetic", split="PublicTest").split_counts() == {"PublicTest": 6}
