"""Running the command `minicnn`, in a process of its own or in this one, on a small file of drawn faces."""

import os
import subprocess
import sys
from pathlib import Path

from fer2013_files import kaggle

from minicnn import cli, data
from minicnn.cli import train

QUICK = ("--epochs", "2", "--batch-size", "12", "--out", "run")
OPTIONS = ("--epochs", "3", "--batch-size", "12", "--augment", "flip", "--schedule", "plateau", "--seed", "4")


def write_faces(folder, n=90, seed=3, **options):
    """Kaggle's CSV of n drawn faces; four fifths are Training."""
    folder.mkdir(parents=True, exist_ok=True)
    return kaggle(**options)(folder, data.synthetic_faces(n, seed=seed))


def smaller(monkeypatch):
    """Let `--model leaky_bn_cnn` be a tenth as wide and draw nothing, for tests that look at neither."""
    whole = train.models.build
    monkeypatch.setattr(train.models, "build", lambda name, **options: whole(name, width=0.1, **options))
    monkeypatch.setattr(train.figures, "save", lambda figure, path: path.write_bytes(b""))
    monkeypatch.setattr(
        train.report, "write", lambda out: (out / "report.html").write_bytes(b"") or out / "report.html"
    )


def environment(cache):
    """One thread, for two beside each other on a busy machine wait for one another; and a cache of one's own."""
    return os.environ | {"MINICNN_CACHE": str(cache), "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "80"}


def start(cache, *words, cwd=None):
    """`python -m minicnn WORDS` under way; its output is text."""
    command = [sys.executable, "-m", "minicnn", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment(cache), cwd=cwd, **pipes)


def run(cache, *words, cwd=None, code=0):
    """(stdout, stderr) of `python -m minicnn WORDS`, which must end with this code."""
    process = start(cache, *words, cwd=cwd)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, f"{words} ended with {process.returncode}\n{out}\n{err}"
    return out, err


def call(capsys, *words, code=0):
    """(stdout, stderr) of the command in this process."""
    capsys.readouterr()
    try:
        got = cli.main([str(word) for word in words])
    except SystemExit as end:  # argparse
        got = end.code
    out, err = capsys.readouterr()
    assert got == code, f"{words} ended with {got}\n{out}\n{err}"
    return out, err


def said(err):
    """What the command says on the error stream, but that it compiles its kernels, which is so at most once."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("minicnn compiles"))


def refused(capsys, *words, code=2):
    """The one line on the error stream with which the command refuses."""
    _, err = call(capsys, *words, code=code)
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert err.startswith("minicnn")
    return err


def contents(folder):
    """{name: bytes} of a run's files but log.txt."""
    folder = Path(folder)
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    del files["log.txt"]
    return files
