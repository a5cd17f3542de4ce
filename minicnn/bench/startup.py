"""How long it takes to get going: the import, and the first training step with no kernel compiled yet."""

import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from minicnn.bench import against
from minicnn.bench.against import Settings
from minicnn.bench.subjects import Subject
from minicnn.bench.worker import Worker

IMPORT = "import time; start = time.perf_counter(); import minicnn; print(time.perf_counter() - start)"


def import_seconds(processes: int = 7) -> float:
    """The median time of `import minicnn` in fresh processes."""
    times = []
    for _ in range(processes):
        done = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
        times.append(float(done.stdout))
    return statistics.median(times)


def first_step_seconds(subject: Subject, settings: Settings, *, torch: bool) -> dict[str, float]:
    """From the start of a process to the end of its first step: with an empty kernel cache, again with a full one, and
    PyTorch's."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("empty cache", "second process"):
            # "fast": no step before the first to find out whether strict would do
            process = functools.partial(against.ours, subject, settings, {"NUMBA_CACHE_DIR": cache}, mode="fast")
            found[name] = _seconds(process)
    if torch:
        found["torch"] = _seconds(functools.partial(against.rival, subject, settings, "channels_last"))
    return found


def _seconds(process: Callable[[], Worker]) -> float:
    start = time.perf_counter()
    with process() as worker:
        worker.ask("step", 1, warm=0)
        return time.perf_counter() - start


def measure(subjects: list[Subject], settings: Settings, *, torch: bool, processes: int = 7) -> dict[str, Any]:
    """Both, for the first batch of every model."""
    firsts = {s.model: s for s in reversed(subjects)}
    models = dict.fromkeys(s.model for s in subjects)
    steps = {model: first_step_seconds(firsts[model], settings, torch=torch) for model in models}
    return {"import": import_seconds(processes), "first_step": steps}


def table(found: dict[str, Any]) -> str:
    """The measured times as text."""
    columns = ("empty cache", "second process", "torch")
    lines = [f"import minicnn: {found['import']:.2f} s", " ".join([f"{'first step, seconds':<20}", *columns])]
    for model, times in found["first_step"].items():
        shown = [f"{times[c]:{len(c)}.2f}" if c in times else f"{'-':>{len(c)}}" for c in columns]
        lines.append(" ".join([f"{model:<20}", *shown]))
    return "\n".join(lines)
