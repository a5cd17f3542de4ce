"""Results as figures: every op under the roofline, times side by side, growth on logarithmic axes."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS, THEIRS, GREY = "#0072B2", "#D55E00", "#4d4d4d"  # Okabe and Ito's blue and vermilion
MARKERS = {"conv2d": "o", "linear": "s", "batch_norm": "^", "max_pool2d": "v", "epilogue": "D", "conv2d_act": "P"}


def roofline(rows: list[dict[str, Any]], peaks: Any) -> "Figure":
    """Operations a second against operations a byte; the roof is what the measured peaks allow.

    rows as `per_op.measure` makes them; those that move no bytes are left out.
    """
    figure, axis = _figure(7.2, 4.6)
    intensity = np.geomspace(0.01, 1000, 200)
    axis.plot(intensity, np.minimum(peaks.flops, intensity * peaks.bytes) / 1e9, color=GREY, label="measured peaks")
    drawn = set()
    for row in rows:
        name = row["op"].partition(".")[0]
        seconds = row["seconds"].get("kernel", row["seconds"]["definition"])
        if row["bytes"] and row["flops"]:
            axis.plot(
                row["flops"] / row["bytes"],
                row["flops"] / seconds / 1e9,
                MARKERS.get(name, "x"),
                color=OURS if "kernel" in row["seconds"] else THEIRS,
                markersize=5,
                markerfacecolor="none" if row["op"].endswith("backward") else None,
                label=None if name in drawn or name not in MARKERS else name,
            )
            drawn.add(name)
    axis.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="GFLOP/s")
    axis.set_title("Blue: kernels, vermilion: definitions; hollow: backward", fontsize=9)
    axis.legend(fontsize=8)
    return figure


def ops(rows: list[dict[str, Any]]) -> "Figure":
    """A bar a side for every op and shape, the slowest first."""
    rows = sorted(rows, key=lambda r: -r["seconds"]["definition"])[:40]
    figure, axis = _figure(7.2, 1 + 0.3 * len(rows))
    places = np.arange(len(rows))
    sides = (("definition", GREY), ("kernel", OURS), ("torch", THEIRS))
    for k, (side, colour) in enumerate(sides):
        times = [r["seconds"].get(side, np.nan) * 1e3 for r in rows]
        axis.barh(places + 0.27 * (k - 1), times, 0.27, color=colour, label=side)
    axis.set_yticks(places, [f"{r['op']} {r['shapes'].split(' ')[0]}" for r in rows], fontsize=7)
    axis.set(xscale="log", xlabel="ms")
    axis.invert_yaxis()
    axis.legend(fontsize=8)
    return figure


def models(rows: list[dict[str, Any]]) -> "Figure":
    """minicnn's time over PyTorch's best, a bar for each model and batch, for the step and for inference."""
    figure, axis = _figure(7.2, 1 + 0.35 * len(rows))
    places = np.arange(len(rows))
    for k, (kind, colour) in enumerate((("step", OURS), ("inference", THEIRS))):
        ratios = [r[kind]["ratio"] if kind in r else 0 for r in rows]  # no bar
        axis.barh(places + 0.36 * (k - 0.5), ratios, 0.36, color=colour, label=kind)
    axis.axvline(1, color=GREY)
    axis.set_yticks(places, [f"{r['model']}, {r['batch']}" for r in rows], fontsize=8)
    axis.set_xlabel("time of minicnn / best time of PyTorch")
    axis.invert_yaxis()
    axis.legend(fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return figure


def growth(found: list[dict[str, Any]]) -> "Figure":
    """Time and memory of a step against each size, both logarithmic."""
    figure, axes = _figure(7.2, 2.4 * len(found), rows=len(found), columns=2)
    for line, grown in zip(np.reshape(axes, (-1, 2)), found, strict=True):
        for side, measured in grown["sides"].items():
            colour = OURS if side == "minicnn" else THEIRS
            sizes = [p["size"] for p in measured["points"]]
            costs = {
                "time (ms)": (measured["time"], [p["seconds"] * 1e3 for p in measured["points"]]),
                "memory beyond idle (MB)": (
                    measured["memory"],
                    [max(p["peak_bytes"] - p["idle_bytes"], 1) / 1e6 for p in measured["points"]],
                ),
            }
            for axis, (what, (power, values)) in zip(line, costs.items(), strict=True):
                axis.plot(sizes, values, "o-", color=colour, label=f"{side}: n^{power:.2f}")
                axis.set(xscale="log", yscale="log", xlabel=grown["axis"])
                axis.set_xticks(sizes, [str(n) for n in sizes], fontsize=7)
                axis.set_xticks([], minor=True)
                axis.set_ylabel(what, fontsize=8)
                axis.legend(fontsize=8)
    return figure


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(rows, columns)
