"""How the cost of a training step grows with the batch, the image, the channels and the depth."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from minicnn import models, nn
from minicnn.bench import numbers
from minicnn.bench.against import LAST, TUNED_MALLOC, Settings
from minicnn.bench.subjects import CLASSES
from minicnn.bench.worker import Worker
from minicnn.models.saved import describe

DEEP_CHANNELS = 32  # of the network whose depth grows
STEPS = 3  # that count; the peak of memory is reached in the first


@dataclass(frozen=True)
class Axis:
    """What grows, through which sizes; from `linear_from` on the exponent is fitted, for small ones pay overheads."""

    name: str
    sizes: tuple[int, ...]
    fitted_from: int
    batch: int = 32


AXES = (
    Axis("batch", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), 16),
    Axis("image size", (24, 48, 96, 192), 48),
    Axis("channels", (8, 16, 32, 64, 128), 32),
    Axis("depth", (1, 2, 4, 8, 16), 2),
)
QUICK = (Axis("batch", (1, 2), 1), Axis("depth", (1, 2), 1, 2))


def measure(axes: Iterable[Axis], settings: Settings, *, torch: bool = False) -> list[dict[str, Any]]:
    """For every axis: a point {"size", "seconds", "peak_bytes"} for each size and side, and the fitted exponents."""
    found = []
    for axis in axes:
        sides: dict[str, dict[str, Any]] = {}
        for side in ("minicnn", "torch") if torch else ("minicnn",):
            points = [_point(axis, size, side, settings) for size in axis.sizes]
            sides[side] = {"points": points} | exponents(points, axis.fitted_from)
        found.append({"axis": axis.name, "fitted_from": axis.fitted_from, "sides": sides})
    return found


def exponents(points: list[dict[str, Any]], start: float) -> dict[str, float]:
    """{"time": p, "memory": q} of seconds ~ size^p and bytes beyond those of the idle model ~ size^q, from start on."""
    fitted = [p for p in points if p["size"] >= start]
    sizes = [p["size"] for p in fitted]
    return {
        "time": numbers.exponent(sizes, [p["seconds"] for p in fitted]),
        "memory": numbers.exponent(sizes, [max(p["peak_bytes"] - p["idle_bytes"], 1) for p in fitted]),
    }


def _point(axis: Axis, size: int, side: str, settings: Settings) -> dict[str, Any]:
    """One size, in a process of its own."""
    model, shape, batch = subject(axis, size)
    specification = {"model": describe(model), "batch": batch, "shape": shape, "classes": CLASSES, "mode": "fast"}
    specification |= {"threads": settings.threads} | LAST
    environment = TUNED_MALLOC if side == "torch" else {"NUMBA_NUM_THREADS": str(settings.threads)}
    with Worker(side, specification, environment) as worker:
        idle = worker.ask("idle", 0, warm=0)["peak_bytes"]
        answer = worker.ask("step", STEPS if settings.share else 1, warm=2)
    seconds = numbers.summary(answer["seconds"])["minimum"]
    return {"size": size, "seconds": seconds, "peak_bytes": answer["peak_bytes"], "idle_bytes": idle}


def subject(axis: Axis, size: int) -> tuple[nn.Module, tuple[int, int, int], int]:
    """(model, (H, W, C) of its images, batch) of one size on an axis.

    leaky_bn_cnn, its image size or its width (channels are those of its first stage); for depth a stack of
    convolutions.
    """
    if axis.name == "depth":
        return _stack(size), (24, 24, 1), axis.batch
    image = size if axis.name == "image size" else 48
    width = size / 32 if axis.name == "channels" else 1.0
    model = models.leaky_bn_cnn(input_size=image, width=width, rng=0)
    return model, (image, image, 1), size if axis.name == "batch" else axis.batch


def _stack(depth: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, DEEP_CHANNELS, 3, padding=1, rng=0), nn.ReLU()]
    for k in range(depth):
        layers += [nn.Conv2d(DEEP_CHANNELS, DEEP_CHANNELS, 3, padding=1, rng=k), nn.ReLU()]
    return nn.Sequential(*layers, nn.GlobalAvgPool2d(), nn.Linear(DEEP_CHANNELS, CLASSES, rng=0))


def table(found: list[dict[str, Any]]) -> str:
    """The measured growth as text."""
    lines = []
    for grown in found:
        for side, measured in grown["sides"].items():
            powers = f"time ~ n^{measured['time']:.2f}, memory ~ n^{measured['memory']:.2f}"
            lines.append(f"{grown['axis']}, {side}: {powers} from {grown['fitted_from']} on")
            lines += [
                f"  {p['size']:>6} {p['seconds'] * 1e3:10.2f} ms {p['peak_bytes'] / 1e6:8.0f} MB"
                for p in measured["points"]
            ]
    return "\n".join(lines)
