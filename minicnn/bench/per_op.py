"""Each op at each shape that a model's training step calls it with: definition, kernel, PyTorch."""

import inspect
import statistics
import time
from collections.abc import Callable
from typing import Any

from minicnn import dispatch
from minicnn.bench import work
from minicnn.bench.against import LAST, TUNED_MALLOC, Settings
from minicnn.bench.calls import Call, of_step
from minicnn.bench.ours import Training
from minicnn.bench.subjects import Subject
from minicnn.bench.work import Peaks
from minicnn.bench.worker import Worker
from minicnn.ops import conv2d

Row = dict[str, Any]


def unique_calls(subject: Subject) -> list[tuple[Call, Call | None, int]]:
    """(call, the forward it goes back through, how often) of a step of the model, plain and fused, each shape once."""
    found: dict[Any, tuple[Call, Call | None, int]] = {}
    for fuse in (False, True):
        training = Training(subject.specification(fuse=fuse))
        if fuse and training.model is training.plain:
            break
        calls = of_step(training, keep=True)
        forwards = {id(c.result[1]): c for c in calls if c.op.name.endswith(".forward")}
        ours: dict[Any, tuple[Call, Call | None, int]] = {}
        for call in calls:
            forward = forwards.get(id(call.args[1])) if call.op.name.endswith(".backward") else None
            first, through, count = ours.get(call.signature(), (call, forward, 0))
            ours[call.signature()] = (first, through, count + 1)
        found = ours | found
    return list(found.values())


def measure(subject: Subject, settings: Settings, peaks: Peaks, *, torch: bool) -> list[Row]:
    """A row for every op and shape: seconds of each side, operations, bytes, and the share of the peaks reached."""
    calls = unique_calls(subject)
    described = [describe(call, forward) for call, forward, _ in calls]
    rival = _rival([d for d in described if d], settings) if torch else None
    rows, place = [], 0
    for (call, _, count), twin in zip(calls, described, strict=True):
        row = _row(subject, call, count, settings.share / 3, peaks)
        if rival and twin:
            time.sleep(settings.rest)
            row["seconds"]["torch"] = min(rival.ask(str(place), 9 if settings.share else 1, 2)["seconds"])
        place += bool(twin)
        rows.append(row)
    if rival:
        rival.close()
    return rows


def _rival(described: list[Row], settings: Settings) -> Worker:
    specification = {"calls": described, "threads": settings.threads} | LAST
    return Worker("torch", specification, TUNED_MALLOC)


def _row(subject: Subject, call: Call, count: int, share: float, peaks: Peaks) -> Row:
    """One op at one shape, without PyTorch."""
    has_kernel = runs_kernel(call)
    seconds = {"definition": _least(call.repeat, "reference", share)}
    if has_kernel:
        seconds["kernel"] = _least(call.repeat, "fast", share)
    flops, moved = work.flops(call), work.moved(call)
    ours = seconds.get("kernel", seconds["definition"])
    return {
        "model": subject.model,
        "batch": subject.batch,
        "layer": call.path,
        "op": call.op.name,
        "shapes": call.shown(),
        "count": count,
        "seconds": seconds,
        "flops": flops,
        "bytes": moved,
        "share": peaks.floor(flops, moved) / ours,
        "explained": explain(call),
    }


def runs_kernel(call: Call) -> bool:
    """Whether a kernel takes this call."""
    return "numba" in call.op.kinds and call.op.sibling("numba")(*call.args, **call.kwargs) is not NotImplemented


def _least(act: Callable[[], object], mode: str, share: float) -> float:
    with dispatch.using(mode), dispatch.one_pool():
        return work.best(act, share)


def explain(call: Call) -> str | None:
    """Which algorithm a convolution's kernel takes in each pass, where its module tells."""
    if not call.op.name.startswith("conv2d") or "numba" not in conv2d.forward.kinds:
        return None
    tells = getattr(inspect.getmodule(conv2d.forward.sibling("numba")), "explain", None)
    if tells is None or not call.op.name.endswith(".forward"):
        return None
    x, w = call.args[:2]
    options = {k: v for k, v in call.kwargs.items() if k in ("stride", "padding", "dilation", "groups")}
    return ", ".join(f"{name}: {algorithm}" for name, algorithm in tells(x.shape, w.shape, **options).items())


def describe(call: Call, forward: Call | None) -> Row | None:
    """What PyTorch's process needs to time the same; None where it has no such op."""
    name, _, direction = call.op.name.partition(".")
    given = forward or call
    if name not in KNOWN or (direction == "backward" and not forward):
        return None
    arrays = [a for a in given.args if a is None or hasattr(a, "shape")]
    options = {k: v for k, v in given.kwargs.items() if v is not None and k not in ("rng", "axis")}
    if "padding" in options and name == "zero_pad2d" and isinstance(options["padding"], int):
        options["padding"] = (options["padding"],)
    return {
        "op": name,
        "direction": direction,
        "shapes": [None if a is None else list(a.shape) for a in arrays],
        "options": options,
        "input_gradient": call.kwargs.get("input_gradient", True),
    }


KNOWN = frozenset(  # the keys of twin_ops.FUNCTIONS, which only PyTorch's process can import
    "add avg_pool2d batch_norm batch_norm_inference concat conv2d cross_entropy dropout flatten global_avg_pool2d "
    "leaky_relu linear max_pool2d prelu relu zero_pad2d".split()
)

HEADER = (
    f"{'op':<28} {'x':>3} {'definition':>10} {'kernel':>9} {'torch':>9} {'ratio':>6} "
    f"{'GFLOP/s':>8} {'GB/s':>6} {'share':>6}  shapes"
)


def line(row: Row) -> str:
    """One row of the table that HEADER heads; times in milliseconds, share of what the peaks allow."""
    seconds = row["seconds"]
    ours = seconds.get("kernel", seconds["definition"])
    times = [f"{seconds[k] * 1e3:{w}.3f}" if k in seconds else f"{'-':>{w}}" for k, w in WIDTHS]
    ratio = f"{ours / seconds['torch']:6.2f}" if "torch" in seconds else f"{'-':>6}"
    rates = f"{row['flops'] / ours / 1e9:8.1f} {row['bytes'] / ours / 1e9:6.1f} {row['share']:6.0%}"
    return f"{row['op']:<28} {row['count']:>3} {' '.join(times)} {ratio} {rates}  {row['shapes']}"


WIDTHS = (("definition", 10), ("kernel", 9), ("torch", 9))


def summary(rows: list[Row]) -> str:
    """How the kernels stand against PyTorch, op by op."""
    ratios = [
        r["seconds"]["kernel"] / r["seconds"]["torch"] for r in rows if {"kernel", "torch"} <= r["seconds"].keys()
    ]
    without = sorted({r["op"] for r in rows if "kernel" not in r["seconds"]})
    said = f"median ratio kernel / torch {statistics.median(ratios):.2f} of {len(ratios)} ops; " if ratios else ""
    return said + (f"without a kernel: {', '.join(without)}" if without else "every op has a kernel")
