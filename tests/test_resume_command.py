"""`minicnn train`, killed again and again and resumed, leaves the bytes of a run that nothing disturbed."""

import os
import random
import signal
import socket
import sys
import time

import pytest
from commands import OPTIONS, contents, run, start, write_faces

FILES = [
    "best.safetensors",
    "config.json",
    "figures/confusion.png",
    "figures/history.png",
    "history.csv",
    "last.safetensors",
    "metrics.json",
    "report.html",
]
KILLS = [  # the signal, the file whose change is waited for, how many changes of it, seconds after that at most
    (signal.SIGKILL, "config.json", 1, 0.0),  # before anything was saved
    (signal.SIGKILL, "last.safetensors", 1, 0.01),
    (signal.SIGINT, "last.safetensors", 1, 0.02),
    (signal.SIGKILL, "history.csv", 1, 0.0),  # between the history and the state that knows of it
    (signal.SIGINT, "last.safetensors", 2, 0.01),
    (signal.SIGKILL, "last.safetensors", 2, 0.03),
    (signal.SIGKILL, "figures/history.png", 1, 0.1),  # while the run is finished off
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    return folder, write_faces(folder / "data")


@pytest.fixture(scope="module")
def undisturbed(place):
    folder, csv = place
    run(folder / "cache", "train", "--data", csv, *OPTIONS, "--checkpoint-every", 2, "--out", folder / "undisturbed")
    return contents(folder / "undisturbed")


def stamp(path):
    try:
        return path.stat().st_ino, path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def kill(process, how, path, changes, delay):
    """Send the signal `delay` seconds after the path has changed so often; returns what the process printed."""
    last = stamp(path)
    while changes and process.poll() is None:
        time.sleep(0.001)
        now = stamp(path)
        changes -= now != last
        last = now
    time.sleep(delay)
    process.send_signal(how)
    return process.communicate(timeout=300)


def test_an_undisturbed_run_holds_these_files_and_nothing_of_this_machine(place, undisturbed):
    folder, csv = place
    assert [name for name in undisturbed if not name.startswith("checkpoints")] == FILES
    assert sum(name.startswith("checkpoints/model_") for name in undisturbed) == 1
    host = socket.gethostname() if len(socket.gethostname()) > 5 else "no host"  # a short one may stand there by chance
    for word in (str(folder), csv.name, sys.prefix, host, time.strftime("%Y-%m-%d"), "undisturbed"):
        assert [name for name, data in undisturbed.items() if word.encode() in data] == [], word


def test_killed_and_resumed(place, undisturbed):
    folder, csv = place
    out, rng = folder / "killed" / "deeper", random.Random(2013)
    words = ["train", "--data", csv, *OPTIONS, "--out", out, "--resume", "--checkpoint-every"]
    said = []
    for how, name, changes, delay in KILLS:
        process = start(folder / "cache", *words, rng.choice([2, 3]))
        text, err = kill(process, how, out / name, changes, rng.uniform(0, delay))
        said.append(text)
        if how == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 130, err
            assert "; the same command with --resume goes on from here" in text
            assert "Traceback" not in err
    text, _ = run(folder / "cache", *words, 3)
    assert ["nothing to resume yet: starting from the beginning" in t for t in said[1:]] == [True] + 5 * [False]
    assert "resumed after 3 epochs and 0 batches" in text
    assert not [name for name in os.listdir(out) if name.endswith(".tmp")]
    got = contents(out)
    assert list(got) == list(undisturbed)
    assert [name for name in got if got[name] != undisturbed[name]] == []
    lines = (out / "log.txt").read_text()
    assert [f"resumed after {k}" in lines for k in (1, 2, 3)] == [True, True, True]
