"""`minicnn bench` from outside: its processes, options and results, and PyTorch's side of them.  Nothing is timed."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import call, refused

from minicnn import models
from minicnn.bench import against, growth, numbers, per_op, plots, subjects
from minicnn.bench.subjects import Subject
from minicnn.bench.worker import COMMANDS, Worker
from minicnn.models.saved import describe

QUICK = ("--quick", "--batch", "2", "--threads", "1")
HEAD = {"kind", "against", "machine", "versions", "commit", "date", "threads"}
SMALL = Subject("leaky_bn_cnn", 3, (("width", 0.1), ("input_size", 16)))


# workers


def test_a_worker_answers_and_ends():
    with Worker("minicnn", SMALL.specification(), {"NUMBA_NUM_THREADS": "1"}) as worker:
        answer = worker.ask("step", 2)
        assert len(answer["seconds"]) == 2
        assert answer["peak_bytes"] > 1e7
        assert worker.about["mode"] in ("strict", "fast")
    assert worker.process.returncode == 0


def test_a_workers_peak_is_its_own():
    """getrusage would begin with ours."""
    ours = np.ones(1 << 26)
    with Worker("minicnn", SMALL.specification(mode="reference"), {}) as worker:
        assert worker.ask("idle", 0, 0)["peak_bytes"] < ours.nbytes


def test_a_worker_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"the minicnn process ended with 1: KeyError: 'class'"):
        Worker("minicnn", {"model": {}}, {})


def test_a_worker_that_takes_too_long_is_ended():
    with pytest.raises(RuntimeError, match="nothing within 0 s"):
        Worker("minicnn", SMALL.specification(), {}, limit=0.05)


# the command


def test_quick_measures_of_every_kind(capsys, tmp_path):
    wanted = {"roofline": "ops", "step": "steps"}
    for what, key in wanted.items():
        result, png = tmp_path / f"{what}.json", tmp_path / f"{what}.png"
        out, _ = call(capsys, "bench", what, "--models", "deep_dnn", *QUICK, "--json", result, "--plot", png)
        found = json.loads(result.read_text())
        assert found.keys() >= HEAD | {key}
        assert found["machine"]["cores"] >= 1
        assert found["versions"]["numpy"] == np.__version__
        assert "deep_dnn, batch 2" in out
        assert png.exists() == (what != "step")
    row = found["steps"][0]["layers"][0]
    assert row.keys() == {"layer", "forward", "backward", "is"}


def test_explain_says_how_a_convolution_is_computed(capsys):
    out, _ = call(capsys, "bench", "ops", "--models", "leaky_bn_cnn", "--explain", *QUICK)
    assert re.search(r"\n +forward: \w+", out)


def test_growth_of_a_small_axis(monkeypatch):
    settings = against.Settings(rounds=1, share=0.0, threads=1)
    monkeypatch.setattr(growth, "DEEP_CHANNELS", 2)
    (found,) = growth.measure([growth.Axis("depth", (1, 2), 1, 2)], settings)
    assert [p["size"] for p in found["sides"]["minicnn"]["points"]] == [1, 2]
    assert "time ~ n^" in growth.table([found])
    assert plots.growth([found])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cuda"], "device 'cuda': only the cpu is measured yet"),
        (["--rounds", "0"], "0 rounds, wanted at least 1"),
        (["--models", "alexnet"], "no model is named 'alexnet'; there is three_conv"),
        (["--batch", "0"], "a batch of 0, wanted at least 1"),
        (["everything"], "invalid choice: 'everything'"),
    ],
)
def test_bad_usage_is_told_in_a_line(capsys, words, message):
    assert message in refused(capsys, "bench", *words)


def test_without_pytorch(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "needs PyTorch: pip install torch" in refused(capsys, "bench", "--against", "torch")


def test_every_model_of_the_reports_is_measured():
    assert {s.model for s in subjects.choose([], [64])} == set(models.names())
    assert [s.batch for s in subjects.choose(["deep_dnn"], [1, 16])] == [1, 16]


# PyTorch


@pytest.mark.torch
@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("name", models.names())
def test_the_twin_computes_the_same_function(name, merge):
    torch = pytest.importorskip("torch")
    from torch_twins import to_torch

    from minicnn.bench import twin

    (subject,) = subjects.choose([name], [2], quick=True)
    model = subject.build()
    theirs = twin.build(json.loads(json.dumps(describe(model))), merge_padding=merge)
    for ours, parameter in zip(model.parameters(), theirs.parameters(), strict=True):
        weight = ours.data if ours.data.ndim == 3 else to_torch(ours.data)
        parameter.data = torch.tensor(np.ascontiguousarray(weight))
    x = np.random.default_rng(0).random((2, *subject.shape), dtype="float32")
    there = torch.tensor(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        want = theirs.eval()(there).numpy()
        in_nchw = theirs(there.contiguous()).numpy()
    np.testing.assert_allclose(model.eval()(x), want, rtol=0, atol=2e-5 * np.abs(want).max())
    np.testing.assert_allclose(in_nchw, want, rtol=0, atol=2e-5 * np.abs(want).max())


@pytest.mark.torch
def test_every_described_op_has_a_twin():
    pytest.importorskip("torch")
    from minicnn.bench import twin_ops

    assert twin_ops.FUNCTIONS.keys() == per_op.KNOWN


@pytest.mark.torch
def test_against_torch(capsys, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    rivals = ("channels_last",)
    monkeypatch.setattr(against, "RIVALS", {mode: against.RIVALS[mode] for mode in rivals})
    monkeypatch.setattr(against, "MEASURED_MEMORY", rivals)
    result, png = tmp_path / "r.json", tmp_path / "r.png"
    words = ("--against", "torch", "--models", "deep_dnn", *QUICK, "--json", result, "--plot", png)
    out, _ = call(capsys, "bench", *words)
    found = json.loads(result.read_text())
    (row,) = found["models"]
    assert row["modes"].keys() == {"minicnn", *rivals}
    for kind in ("step", "inference"):
        ours, best = (row["modes"][mode][kind]["rounds"] for mode in ("minicnn", row[kind]["best"]))
        assert row[kind]["ratio"] == numbers.ratio(ours, best)
        assert found["geometric_mean"]["2"][kind] == pytest.approx(row[kind]["ratio"])
    peaks = row["memory"]["peak_bytes"]
    assert row["memory"]["ratio"] == peaks.pop("minicnn") / min(peaks.values())
    assert "deep_dnn" in out
    assert png.exists()


@pytest.mark.torch
def test_ops_against_torch(capsys, tmp_path):
    pytest.importorskip("torch")
    words = ("--models", "prelu_cnn", *QUICK, "--against", "torch", "--json", tmp_path / "r.json")
    call(capsys, "bench", "ops", *words)
    rows = json.loads((tmp_path / "r.json").read_text())["ops"]
    assert {r["op"] for r in rows if "torch" in r["seconds"]} >= {"conv2d.forward", "conv2d.backward", "prelu.backward"}


@pytest.mark.torch
def test_the_rival_does_not_pay_for_us():
    """Its process enters the package past its __init__: none of the library is imported."""
    pytest.importorskip("torch")
    command = COMMANDS["torch"]
    loaded = "import sys; print(*sorted(m for m in sys.modules if m.startswith('minicnn')))"
    code = command[3].replace("rival.main()", loaded)
    done = subprocess.run([*command[:3], code, *command[4:]], capture_output=True, text=True, check=True)
    ours = ["minicnn", *(f"minicnn.bench{name}" for name in ("", ".rival", ".twin", ".twin_ops", ".worker"))]
    assert done.stdout.split() == ours


# the scripts


def script(name):
    """A file of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_errors(monkeypatch, capsys, tmp_path):
    accuracy = script("accuracy")
    words = ["accuracy.py", "deep_dnn", "--quick", "--batch", "2", "--json", str(tmp_path / "a.json")]
    monkeypatch.setattr(sys, "argv", words)
    assert accuracy.main() == 0
    assert "| deep_dnn | linear.backward | dw |" in capsys.readouterr().out
    calls = json.loads((tmp_path / "a.json").read_text())["calls"]
    assert all(call["within"] for call in calls)
    monkeypatch.setattr(accuracy.errors, "FORWARD_BOUND", 0.0)
    monkeypatch.setattr(accuracy.per_op, "runs_kernel", lambda call: True)
    assert accuracy.main() == 1
    assert "beyond its bound: deep_dnn" in capsys.readouterr().err


def test_the_page_takes_the_results_that_are_there(monkeypatch, tmp_path):
    page = script("performance_page")
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text(f"before\n{page.START}old\n{page.END}\nafter\n")
    kind = {"best": "NCHW", "ratio": 0.5}
    modes = {mode: {k: {"median": t} for k in page.KINDS} for mode, t in (("minicnn", 0.002), ("NCHW", 0.004))}
    floors = {k: {"winograd_floor": 0.001} for k in page.KINDS}
    row = {"model": "deep_dnn", "batch": 64, "modes": modes, "floors": floors, "memory": {"ratio": 0.75}}
    row |= {"step": kind, "inference": kind}
    head = {"machine": {"cpu": "a cpu", "cores": 2}, "versions": {"numpy": "2"}, "commit": None, "date": "today"}
    means = {"64": {"step": 0.5, "inference": 0.5}}
    (tmp_path / "models_64.json").write_text(json.dumps(head | {"models": [row], "geometric_mean": means}))
    del row["step"], row["memory"]  # as where one value a channel cannot be normalised
    one = {"models": [row | {"batch": 1}], "geometric_mean": {"1": {"inference": 0.5}}}
    (tmp_path / "models_1.json").write_text(json.dumps(head | one))
    for _ in range(2):  # writing again changes nothing
        page.main()
    text = (tmp_path / "page.md").read_text()
    assert text.startswith(f"before\n{page.START}### Against PyTorch, batch 1\n")
    assert text.endswith(f"(a cpu, 2 cores; numpy 2; commit no commit, today.)\n{page.END}\nafter\n")
    assert "| deep_dnn | 64 | 2.00 | 1.00 | 4.00 | **0.50** | 2.00 | 1.00 | 4.00 | **0.50** | 0.75 |" in text
    assert "| deep_dnn | 1 |  |  |  |  | 2.00 | 1.00 | 4.00 | **0.50** |  |" in text
    assert text.index("batch 1\n") < text.index("batch 64\n")
    assert "![bars of the time ratios; below 1 is faster than PyTorch](images/models_64.png)" in text
    assert (tmp_path / "images" / "models_64.png").stat().st_size > 1000
    assert "old" not in text
