"""minicnn against PyTorch, model by model: training step, inference, peak memory.

One live process a mode.  They are driven in turn, with a rest between: a thread pool that has finished goes on spinning
for a while and would slow the next process down.  A round visits every process, so a disturbance meets all of them.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from minicnn.bench import floors, numbers
from minicnn.bench.subjects import Subject
from minicnn.bench.work import Peaks
from minicnn.bench.worker import Worker

KINDS = ("step", "inference")
OURS = "minicnn"
PLAIN = {"channels_last": False, "compile": False, "merge_padding": False}
LAST = PLAIN | {"channels_last": True}
MERGED, COMPILED = "channels_last tuned malloc, padding merged", "channels_last tuned malloc, compiled"
# glibc then keeps the pages it has: without this PyTorch loses 10 to 35 % of a step to page faults.
TUNED_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
RIVALS: dict[str, tuple[dict[str, bool], dict[str, str]]] = {  # mode -> (specification, environment)
    "NCHW": (PLAIN, {}),
    "channels_last": (LAST, {}),
    "channels_last tuned malloc": (LAST, TUNED_MALLOC),
    MERGED: (LAST | {"merge_padding": True}, TUNED_MALLOC),  # zero-pad layers written into the convolutions
    COMPILED: (LAST | {"compile": True, "merge_padding": True}, TUNED_MALLOC),
}

MEASURED_MEMORY = ("channels_last", "channels_last tuned malloc")


@dataclass(frozen=True)
class Settings:
    """How carefully to measure."""

    rounds: int = 15
    rest: float = 0.05  # seconds between two processes
    share: float = 0.25  # seconds a visit may last, in calls of at least one
    threads: int = 2
    compile: bool = False
    compile_limit: float = 300.0


def compare(subject: Subject, settings: Settings, peaks: Peaks, log: Callable[[str], Any] = print) -> dict[str, Any]:
    """One model at one batch: every mode's times, the best rival and the ratio for each kind, floors, peak memory."""
    with contextlib.ExitStack() as stack:
        workers = {mode: stack.enter_context(worker) for mode, worker in _workers(subject, settings, log)}
        about = workers[OURS].about
        times = _rounds(workers, about["kinds"], settings)
    found: dict[str, Any] = {"model": subject.model, "batch": subject.batch, "ours": about, "modes": {}}
    for mode in times:
        found["modes"][mode] = {k: numbers.summary(v) | {"rounds": v} for k, v in times[mode].items()}
    for kind in about["kinds"]:
        best, ratio = _best(times, kind)
        found[kind] = {"best": best, "ratio": ratio}
    found["floors"] = floors.seconds(subject, peaks)
    if "step" in found:
        found["memory"] = memory(subject, settings)
    return found


def _workers(subject: Subject, settings: Settings, log: Callable[[str], Any]) -> Iterator[tuple[str, Worker]]:
    """(mode, worker), ours first; a mode that does not compile in time is left out, and it says so."""
    yield OURS, ours(subject, settings)
    padded = any(type(module).__name__ == "ZeroPad2d" for module in subject.build().modules())
    for mode in RIVALS:
        if mode == MERGED and not padded:
            continue
        if mode != COMPILED:
            yield mode, rival(subject, settings, mode)
        elif settings.compile:
            worker = rival(subject, settings, mode)
            try:
                worker.limit = settings.compile_limit
                worker.ask("inference", calls=1, warm=1)
                worker.limit = 600.0
                yield mode, worker
            except RuntimeError as error:
                worker.close()
                log(f"{subject.model}: {mode} left out: {error}")


def ours(subject: Subject, settings: Settings, environment: Mapping[str, str] = MappingProxyType({}), **more: Any):
    """A process of minicnn."""
    threads = {"NUMBA_NUM_THREADS": str(settings.threads)}
    return Worker("minicnn", subject.specification(**more), threads | dict(environment))


def rival(subject: Subject, settings: Settings, mode: str) -> Worker:
    """A process of PyTorch in one of its modes."""
    options, environment = RIVALS[mode]
    return Worker("torch", subject.specification(threads=settings.threads, **options), environment)


def _rounds(workers: dict[str, Worker], kinds: list[str], settings: Settings) -> dict[str, dict[str, list[float]]]:
    """{mode: {kind: the time of each round, a median of its calls}}; a compiled mode infers only."""
    visits = [(m, k) for m in workers for k in kinds if (m, k) != (COMPILED, "step")]
    calls = {}
    for mode, kind in visits:
        once = workers[mode].ask(kind, calls=1, warm=2)["seconds"][0]
        calls[mode, kind] = max(1, min(20, round(settings.share / once)))
    times: dict[str, dict[str, list[float]]] = {mode: {} for mode in workers}
    for _ in range(settings.rounds):
        for mode, kind in visits:
            time.sleep(settings.rest)
            seconds = workers[mode].ask(kind, calls[mode, kind])["seconds"]
            times[mode].setdefault(kind, []).append(statistics.median(seconds))
    return times


def _best(times: dict[str, dict[str, list[float]]], kind: str) -> tuple[str, float]:
    """PyTorch's mode with the lowest median, and our ratio to it."""
    rivals = {mode: found[kind] for mode, found in times.items() if mode != OURS and kind in found}
    best = min(rivals, key=lambda mode: statistics.median(rivals[mode]))
    return best, numbers.ratio(times[OURS][kind], rivals[best])


def memory(subject: Subject, settings: Settings, steps: int = 6) -> dict[str, Any]:
    """Peak bytes of processes that do training steps alone: ours, and PyTorch's in two modes.

    The ratio is to the smaller of PyTorch's.
    """
    peaks = {}
    with ours(subject, settings) as worker:
        peaks[OURS] = worker.ask("step", steps)["peak_bytes"]
    for mode in MEASURED_MEMORY:
        with rival(subject, settings, mode) as worker:
            peaks[mode] = worker.ask("step", steps)["peak_bytes"]
    return {"peak_bytes": peaks, "ratio": peaks[OURS] / min(peaks[m] for m in peaks if m != OURS)}


def geometric_means(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """{batch: {kind: geometric mean of the models' ratios}}."""
    means: dict[str, dict[str, float]] = {}
    for b in sorted({row["batch"] for row in found}):
        ratios = {k: [row[k]["ratio"] for row in found if row["batch"] == b and k in row] for k in KINDS}
        means[str(b)] = {k: numbers.geometric_mean(values) for k, values in ratios.items() if values}
    return means


HEADER = (
    f"{'model':<16} {'batch':>5} | {'step ms':>8} {'floor':>7} {'torch':>8} {'ratio':>6} | "
    f"{'infer ms':>8} {'floor':>7} {'torch':>8} {'ratio':>6} | {'peak MB':>8} {'torch':>8} {'ratio':>6} | mode"
)


def line(row: dict[str, Any]) -> str:
    """One row of the table that HEADER heads."""
    cells = [f"{row['model']:<16} {row['batch']:>5}"]
    for kind in KINDS:
        if kind not in row:
            cells.append(f"{'-':>8} {'-':>7} {'-':>8} {'-':>6}")
            continue
        ours, theirs = (row["modes"][mode][kind]["median"] * 1e3 for mode in (OURS, row[kind]["best"]))
        floor = row["floors"][kind]["winograd_floor"] * 1e3
        cells.append(f"{ours:8.2f} {floor:7.2f} {theirs:8.2f} {row[kind]['ratio']:6.2f}")
    if "memory" in row:
        peaks = row["memory"]["peak_bytes"]
        least = min(peak for mode, peak in peaks.items() if mode != OURS)
        cells.append(f"{peaks[OURS] / 1e6:8.0f} {least / 1e6:8.0f} {row['memory']['ratio']:6.2f}")
    else:
        cells.append(f"{'-':>8} {'-':>8} {'-':>6}")
    return " | ".join([*cells, row["ours"]["mode"] + (", fused" if row["ours"]["fused"] else "")])
