"""`@kernel`: one signature, kept on disk, compiled again when any part changes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import simd
from minicnn.simd.compile import Kernel, i64, kernel, vector_in, vector_out


@kernel((vector_in, simd.array(2, strided=True), vector_out, i64))
def double(x, a, y, n):
    """y = 2 x + a[0, 0]."""
    for i in range(n):
        y[i] = 2 * x[i] + a[0, 0]


def arguments():
    return [np.arange(4, dtype="float32"), np.ones((2, 2), "float32"), np.zeros(4, "float32"), 4]


def test_a_kernel_takes_what_its_types_say():
    x, a, y, n = arguments()
    double(x, a, y, n)
    assert y.tolist() == [1, 3, 5, 7]
    x.flags.writeable = a.flags.writeable = False
    double(x, a.T[::-1], y, n)
    assert y.tolist() == [1, 3, 5, 7]
    assert (double.__name__, double.__doc__) == ("double", "y = 2 x + a[0, 0].")
    assert repr(double) == "<kernel test_kernel_decorator.double>"


def frozen(a):
    a.flags.writeable = False
    return a


@pytest.mark.parametrize(
    ("k", "wrong"),
    [
        (0, np.arange(4.0)),
        (0, np.arange(8, dtype="float32")[::2]),
        (0, np.ones((2, 2), "float32")),
        (2, frozen(np.zeros(4, "float32"))),
        (3, "4"),
    ],
    ids=["dtype", "strides", "axes", "read-only", "no number"],
)
def test_what_does_not_fit_is_an_error(k, wrong):
    given = arguments()
    given[k] = wrong
    with pytest.raises(TypeError, match="No matching definition"):
        double(*given)
    assert len(double.compiled().signatures) == 1


@pytest.fixture
def elsewhere(tmp_path):
    """Runs code in processes of its own, with the modules written beside it; returns (stdout, stderr)."""
    package = Path(simd.__file__).parents[2]
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "numbers_alone.py").write_text("TERM = 0")
    (tmp_path / "whole.py").write_text(WHOLE)

    def run(**settings):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
        places = {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(package)]),
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        }
        code = "import whole; whole.main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=kept | places | settings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), done.stderr

    run.folder = tmp_path
    return run


PARTS = """
from minicnn.simd import inner
from numbers_alone import TERM

@inner
def deeper(x):
    return 2 * x + TERM
"""
WHOLE = """
import numpy as np
from minicnn.simd import inner, kernel, vector_out
from parts import deeper

@inner
def deep(x):
    return deeper(x)

@kernel((vector_out,))
def change(x):
    x[0] = deep(x[0])

def main():
    x = np.ones(1, "float32")
    change(x)
    stats = getattr(change.compiled(), "stats", None)
    print(x[0], sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_the_next_process_finds_the_kernel_on_disk(elsewhere):
    results, errors = elsewhere()
    assert results == ["2.0", "0", "1"]
    assert errors.startswith("minicnn compiles its CPU kernels")
    assert str(elsewhere.folder / "cache") in errors
    assert elsewhere() == (["2.0", "1", "0"], "")


@pytest.mark.parametrize(
    ("file", "text", "result"),
    [("parts.py", PARTS.replace("2 * x", "4 * x"), "4.0"), ("numbers_alone.py", "TERM = 5", "7.0")],
    ids=["source", "constant"],
)
def test_a_change_of_a_part_two_files_away_is_noticed(elsewhere, file, text, result):
    assert elsewhere()[0] == ["2.0", "0", "1"]
    (elsewhere.folder / file).write_text(text)
    assert elsewhere()[0] == [result, "0", "1"]


def test_where_no_folder_can_be_written_it_works_all_the_same(elsewhere):
    for name in ("cache", "__pycache__"):
        (elsewhere.folder / name).write_text("a file, and no folder")
    results, errors = elsewhere(XDG_CACHE_HOME=str(elsewhere.folder / "cache"), HOME=str(elsewhere.folder / "cache"))
    assert results[0] == "2.0"
    assert "not kept, for no cache folder can be written" in errors


def test_a_kernel_written_in_no_file_works_too(monkeypatch):
    told = []
    monkeypatch.setattr(Kernel, "announce", told.append)
    scope = {"kernel": kernel, "vector_out": vector_out}
    exec("def three(x):\n    x[0] = 3", scope)
    x = np.zeros(1, "float32")
    kernel((vector_out,))(scope["three"])(x)
    assert x[0] == 3
    assert told == [None]
