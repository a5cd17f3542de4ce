"""The command from outside: every sub-command in a process of its own, on one small run."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from commands import call, contents, environment, run, start, write_faces
from PIL import Image

from minicnn import __version__, cli, data, metrics, models, ops
from minicnn.cases import CASES
from minicnn.cli import doctor
from minicnn.train import History

RELU_BACKWARD = ops.relu.backward.definition
LINES = [
    r"audit: 0 of 90 images in 0 groups of exact copies .*",
    r"training copies of validation images: kept",
    r"Epoch: 1, train Loss: \d\.\d{4}, train Acc: 0\.\d{4}",
    r"Epoch: 1, valid Loss: \d\.\d{4}, valid Acc: [01]\.\d{4}",
    r"model saved to model_1\.safetensors",
    r"Epoch: 2, train Loss: \d\.\d{4}, train Acc: 0\.\d{4}",
    r"Epoch: 2, valid Loss: \d\.\d{4}, valid Acc: [01]\.\d{4}",
    r"(?:model saved to model_2\.safetensors)?",
    r"best validation accuracy 0\.\d{4} in epoch [12] \(95 % interval 0\.\d{3} to 0\.\d{3}, n = 18, PublicTest\)",
    r"look at .*report\.html and .*figures",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(a folder, the faces, what training a run in folder/RUN printed)."""
    folder = tmp_path_factory.mktemp("command")
    csv = write_faces(folder)
    out, _ = run(folder, "train", "--data", csv, "--epochs", 2, "--batch-size", 18, "--out", "RUN", cwd=folder)
    return folder, csv, out


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))


def test_train_prints_the_lines_of_the_reports_and_keeps_them(place):
    folder, _, out = place
    assert re.fullmatch("\n".join(LINES).replace("\n(?:", "(?:\n") + "\n", out), out
    assert (folder / "RUN" / "log.txt").read_text() == out


def test_train_leaves_a_whole_run(place):
    folder, _, out = place
    config = json.loads((folder / "RUN" / "config.json").read_text())
    digest = config["data"].pop("digest")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert config == {
        "minicnn": __version__,
        "model": "leaky_bn_cnn",
        "data": {"name": "fer2013", "training": 72, "validation": 18},
        "epochs": 2,
        "batch_size": 18,
        "lr": 0.001,
        "optimizer": "adam",
        "augment": "none",
        "schedule": "none",
        "seed": 0,
        "device": "cpu",
        "drop_duplicates": False,
        "parameters": 538_439,
        "input_shape": [48, 48, 1],
        "class_names": ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"],
    }
    history = History.from_csv((folder / "RUN" / "history.csv").read_text())
    for row in history:
        for split in ("train", "valid"):
            words = f"{split} Loss: {row[f'{split}_loss']:.4f}, {split} Acc: {row[f'{split}_accuracy']:.4f}"
            assert f"Epoch: {row['epoch']}, {words}\n" in out
    for name in ("history", "confusion"):
        with Image.open(folder / "RUN" / "figures" / f"{name}.png") as image:
            image.load()
            assert min(image.size) > 200
    assert "<html" in (folder / "RUN" / "report.html").read_text()


def test_the_best_model_is_the_one_that_was_measured(place):
    folder, csv, _ = place
    found = json.loads((folder / "RUN" / "metrics.json").read_text())
    faces = data.load_fer2013(csv, "PublicTest", cache=False)
    scores = models.load(folder / "RUN" / "best.safetensors")((faces.images / 255).astype("float32"))
    best = History.from_csv((folder / "RUN" / "history.csv").read_text()).best("valid_accuracy")
    assert found["accuracy"] == metrics.accuracy(faces.labels, scores) == best["valid_accuracy"]
    assert found["confusion"] == metrics.confusion_matrix(faces.labels, scores, 7).tolist()
    assert (found["n"], found["epoch"], found["loss"]) == (18, best["epoch"], best["valid_loss"])
    assert found["interval"] == [*metrics.wilson_interval(round(found["accuracy"] * 18), 18)]
    assert (found["split"], found["class_names"]) == ("PublicTest", list(faces.class_names))
    saved = [path.name for path in (folder / "RUN" / "checkpoints").iterdir()]
    assert saved == [f"model_{best['epoch']}.safetensors"]
    assert (folder / "RUN" / "checkpoints" / saved[0]).read_bytes() == (
        folder / "RUN" / "best.safetensors"
    ).read_bytes()


def test_evaluate(place, capsys):
    folder, csv, _ = place
    found = json.loads((folder / "RUN" / "metrics.json").read_text())
    told = json.loads(call(capsys, "evaluate", folder / "RUN", "--data", csv, "--json")[0])
    assert {k: told[k] for k in ("accuracy", "n", "interval", "split", "confusion", "class_names")} == {
        k: found[k] for k in ("accuracy", "n", "interval", "split", "confusion", "class_names")
    }
    assert told["loss"] == pytest.approx(found["loss"], rel=1e-5)
    text, _ = call(capsys, "evaluate", folder / "RUN" / "best.safetensors", "--data", csv)
    lines = text.splitlines()
    low, high = found["interval"]
    assert lines[0] == f"PublicTest: accuracy {found['accuracy']:.4f} (95 % interval {low:.3f} to {high:.3f}, n = 18)"
    assert lines[1] == f"loss {told['loss']:.4f}, macro F1 {told['f1_macro']:.4f}"
    table = [re.split(r" +", line.strip()) for line in lines[-7:]]
    assert [[int(cell) for cell in row[1:8]] for row in table] == found["confusion"]
    assert [row[0] for row in table] == found["class_names"]
    correct = [row[k] / sum(row) for k, row in enumerate(found["confusion"])]
    assert [row[8] for row in table] == [f"{share:.3f}" for share in correct]
    training = run(folder, "evaluate", "RUN", "--data", csv, "--split", "Training", cwd=folder)[0]
    assert re.match(r"Training: accuracy 0\.\d{4} \(95 % .*, n = 72\)", training)


def test_predict(place):
    folder, csv, _ = place
    faces = data.load_fer2013(csv, "PublicTest", cache=False)
    for k in (0, 1):
        Image.fromarray(faces.images[k, :, :, 0]).save(folder / f"face {k}.png")
    out, err = run(folder, "predict", "RUN", "face 0.png", "face 1.png", cwd=folder)
    model = models.load(folder / "RUN" / "best.safetensors")
    p = ops.softmax.forward(model((faces.images / 255).astype("float32")))[0]
    wanted = []
    for k in (0, 1):
        a, b, c = np.argsort(-p[k])[:3]
        said = [f"{faces.class_names[j]} {p[k, j]:.3f}" for j in (a, b, c)]
        wanted.append(f"face {k}.png: {said[0]} ({said[1]}, {said[2]})")
    assert out.splitlines() == wanted
    assert err == "each image: largest centred square, 48x48, grey\n"
    out, _ = run(folder, "predict", "RUN", "--data", csv, "--split", "PublicTest", "--csv", "out.csv", cwd=folder)
    assert out == "18 predictions written to out.csv\n"
    rows = [f"{k},{label}" for k, label in enumerate(p.argmax(axis=1))]
    assert (folder / "out.csv").read_text().splitlines() == ["id,label", *rows]
    out, _ = run(folder, "predict", "RUN", "--data", csv, cwd=folder)
    assert [line.split(":")[0] for line in out.splitlines()] == [str(k) for k in range(90)]


def test_report_writes_the_same_page_again(place, capsys):
    folder, _, _ = place
    before = contents(folder / "RUN")
    (folder / "RUN" / "report.html").unlink()
    out, _ = run(folder, "report", "RUN", cwd=folder)
    assert out.strip() == "RUN/report.html"
    assert contents(folder / "RUN") == before
    assert call(capsys, "report", folder / "RUN")[0] == f"{folder / 'RUN' / 'report.html'}\n"
    assert contents(folder / "RUN") == before


def test_models(place, capsys):
    folder, _, _ = place
    lines = run(folder, "models")[0].splitlines()
    assert call(capsys, "models")[0].splitlines() == lines
    assert [line.split()[0] for line in lines[: len(models.names())]] == models.names()
    assert re.fullmatch(r"leaky_bn_cnn +538,439 parameters +\S.*\.", next(x for x in lines if x[:5] == "leaky"))
    table = call(capsys, "models", "leaky_bn_cnn", "--input", 32, 48, 3)[0]
    assert "(input)" in table
    assert "(32, 48, 3)" in table
    assert re.search(r"Linear\(768, 256\) +\(256,\) +196,864 +196,608", table)


def test_gradcheck_of_some_ops(place):
    lines = run(place[0], "gradcheck", "relu", "conv2d", "--seed", 5)[0].splitlines()
    assert [line.split()[0] for line in lines] == ["relu", "conv2d", "2"]
    assert [line.endswith("   ok") for line in lines] == [True, True, False]
    assert re.fullmatch(r"2 ops, 0 wrong; largest relative error \d\.\de-\d\d; \d+ wrong backwards planted", lines[2])


def test_gradcheck_of_every_op(capsys):
    lines = call(capsys, "gradcheck")[0].splitlines()
    assert [line.split()[0] for line in lines] == [*CASES, str(len(CASES))]
    assert all(line.endswith("   ok") for line in lines[:-1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda dy, cache: (0.5 * RELU_BACKWARD(dy, cache)[0],), "WRONG"),
        (lambda dy, cache: (RELU_BACKWARD(dy, cache)[0].T,), "the gradient of"),
    ],
    ids=["wrong by a factor", "wrong shape"],
)
def test_gradcheck_tells_of_a_wrong_backward(wrong, said, monkeypatch, capsys):
    monkeypatch.setattr(ops.relu.backward, "definition", wrong)
    out, _ = call(capsys, "gradcheck", "tanh", "relu", code=1)
    assert said in out
    assert "2 ops, 1 wrong; " in out


def test_gradcheck_tells_of_a_planted_error_that_goes_unnoticed(monkeypatch, capsys):
    monkeypatch.setitem(CASES["relu"].wrong, "not wrong at all", RELU_BACKWARD)
    out, _ = call(capsys, "gradcheck", "relu", code=1)
    assert "PASSES: not wrong at all" in out


def test_doctor(place):
    lines = run(place[0], "doctor")[0].splitlines()
    assert lines[0].startswith(f"minicnn {__version__}, Python {sys.version_info.major}.{sys.version_info.minor}.")
    assert [line.split()[:2] for line in lines[1:6]] == [
        ["ok", name] for name in ("numpy", "blas", "numba", "gradients", "files")
    ]
    assert [line.split()[1] for line in lines[6:]] == ["gpu", *doctor.OPTIONAL]
    assert {line.split()[0] for line in lines[6:]} <= {"ok", "-"}


def test_doctor_finds_what_is_broken(monkeypatch, capsys):
    right = ops.conv2d.backward.definition
    wrong = lambda dy, cache: (2 * right(dy, cache)[0], *right(dy, cache)[1:])  # noqa: E731
    monkeypatch.setattr(ops.conv2d.backward, "definition", wrong)
    out, _ = call(capsys, "doctor", code=1)
    assert re.search(r"  WRONG gradients +conv2d ", out)
    assert "  ok    files " in out


class FakeGPU:
    """As much of CuPy as `minicnn doctor` asks for, failing at one step."""

    __version__ = "99.0"

    def __init__(self, fails):
        def step(name, result):
            def call(*args):
                if name == fails:
                    raise RuntimeError("out of order")
                return result

            return call

        array = SimpleNamespace(get=lambda: None)
        self.cuda = SimpleNamespace(
            Device=step("finding a GPU", SimpleNamespace(compute_capability="90")),
            runtime=SimpleNamespace(getDeviceProperties=lambda index: {"name": b"Imaginary 9000"}),
        )
        self.zeros = step("allocating memory", array)
        self.ElementwiseKernel = step("launching a kernel", lambda x: array)
        self.ones = step("multiplying matrices", np.ones((2, 2)).view(Device))


class Device(np.ndarray):
    def get(self):
        return self


GPUS = [
    (
        None,
        "  -     gpu        CuPy is not installed: pip install 'minicnn[cuda13]' (or cuda12, after the driver), and",
    ),
    (FakeGPU("nothing"), "  ok    gpu        CuPy 99.0 on Imaginary 9000\n"),
    *(
        (FakeGPU(step), f"  -     gpu        CuPy 99.0: {step} failed (out of order); pip install 'minicnn[cuda13]'")
        for step in ("finding a GPU", "allocating memory", "launching a kernel", "multiplying matrices")
    ),
]


@pytest.mark.parametrize(("cupy", "said"), GPUS)
def test_doctor_tries_the_gpu_step_by_step(cupy, said, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for name in ("_numba", "_gradients", "_blas", "_files"):
        monkeypatch.setattr(doctor, name, lambda: "")
    assert said in call(capsys, "doctor")[0]


def test_help_and_version(capsys):
    assert call(capsys, "--version")[0] == f"minicnn {__version__}\n"
    out, _ = call(capsys, "--help")
    for name in cli.COMMANDS:
        assert re.search(rf"\n +{name}\s", out)
        assert call(capsys, name, "--help")[0].startswith(f"usage: minicnn {name} [-h]")


def test_a_reader_that_goes_away_is_no_error(place):
    with start(place[0], "models") as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait(timeout=60)) == ("", 0)


def test_the_module_is_the_command(place):
    found = subprocess.run(
        [sys.executable, "-m", "minicnn", "nothing"], capture_output=True, text=True, env=environment(place[0])
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert re.fullmatch(r"minicnn: argument COMMAND: invalid choice: 'nothing' .*; see minicnn --help\n", found.stderr)
