"""Figures for paper and screen.

They are made to be printed as wide as they are (letters of 8 points and more), to be told apart without colour (line
styles, markers, numbers) and by colour-blind readers (Okabe & Ito 2008, "Color Universal Design").  Every function
returns a matplotlib Figure that belongs to no window and no global state; `save` and `png` turn equal figures into
equal bytes.
"""

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from minicnn import files, metrics
from minicnn.explain.augmentation_figure import augmentation as augmentation
from minicnn.explain.canvas import DPI, GREY, LARGE, MEDIUM, RULE, SMALL, blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES: tuple[
    tuple[str, str, dict[str, Any]], ...
] = (  # Okabe and Ito's blue and vermilion: the one dark, the other lighter, in grey too
    ("train", "training", {"color": "#0072B2", "linestyle": "--", "marker": "o"}),
    ("valid", "validation", {"color": "#D55E00", "linestyle": "-", "marker": "s"}),
)
PANELS = (("loss", "lowest", min), ("accuracy", "highest", max))  # quantity, the word for its best, which is the best
MARKED = 15  # epochs that get a marker, at most about


class HasHistory(Protocol):
    """What `Trainer.fit` returns: `history` is name -> one number an epoch."""

    @property
    def history(self) -> Mapping[str, Sequence[float]]: ...


def history(history: HasHistory | Mapping[str, Sequence[float]], *, stacked: bool = False) -> "Figure":
    """Loss and accuracy against the epoch, training and validation in each; the best validation epoch is marked.

    history  what `Trainer.fit` returned, or a mapping to equally long lists under any of "epoch", "train_loss",
             "valid_loss", "train_accuracy", "valid_accuracy"; without "epoch" they count from 1.  What is not finite is
             left out of the lines.
    stacked  the axes one above the other, for a narrow page, instead of side by side

    ValueError where none of the four quantities is there or lists differ in length.
    """
    columns = _columns(history)
    figure, axes = _figure((3.6, 5.2) if stacked else (7.2, 3.2), stacked)
    for axis, (quantity, word, best) in zip(axes, PANELS, strict=True):
        _panel(axis, columns, quantity)
        _mark(axis, columns["epoch"], columns.get(f"valid_{quantity}"), word, best)
    handles = {line.get_label(): line for axis in axes for line in axis.get_lines() if line.get_label()[0] != "_"}
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=MEDIUM
        )
    figure.suptitle(_headline(columns, "\n" if stacked else " "), fontsize=LARGE, fontweight="bold")
    return figure


def confusion(
    matrix: ArrayLike, class_names: Sequence[str], *, title: str | None = None, stacked: bool = False
) -> "Figure":
    """The confusion matrix twice: its counts, and each row in per cent of its sum.

    matrix       (K, K) whole counts, row i and column j those of true class i predicted as class j, as
                 `metrics.confusion_matrix` returns; a row without samples shows "–"
    class_names  K names
    title        instead of the accuracy with its 95 % interval
    stacked      the axes one above the other, for a narrow page, instead of side by side

    ValueError where the shapes do not fit or something is no count.
    """
    counts = _counts(matrix, class_names)
    K, empty = len(counts), counts.sum(axis=1, keepdims=True) == 0
    share = np.where(empty, np.nan, metrics.normalize_rows(counts))
    side = K * max(0.30, 0.07 * len(str(counts.max())) + 0.08, 1.7 / K)  # inches, as what follows
    name = 0.065 * max(map(len, class_names))
    across, down = max(side + name + 0.45, 2.7), side + 0.7 * name + 0.7  # of one matrix with labels
    figure, axes = _figure((across, 2 * down + 0.5) if stacked else (2 * across, down + 0.4), stacked, compress=True)
    _grid(axes[0], counts / max(counts.max(), 1), [[str(c) for c in row] for row in counts], class_names)
    cells = [["–" if math.isnan(s) else f"{100 * s:.0f}" for s in row] for row in share]
    _grid(axes[1], np.nan_to_num(share), cells, class_names)
    axes[0].set_title("counts", fontsize=MEDIUM)
    axes[1].set_title("% of the true class", fontsize=MEDIUM)
    if title is None:
        title = _accuracy(int(counts.trace()), int(counts.sum()), "\n" if stacked or across < 3 else " ")
    figure.suptitle(title, fontsize=LARGE, fontweight="bold", parse_math=False)
    return figure


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, whole or not at all.  ValueError where path does not end in .png."""
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"save: the path ends in {Path(path).suffix!r}; wanted '.png'")
    files.write_bytes(path, png(figure))


def png(figure: "Figure") -> bytes:
    """A figure as PNG at 150 dots an inch; without date and version, so that equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _figure(size: tuple[float, float], stacked: bool, compress: bool = False) -> tuple["Figure", Any]:
    """A figure of this many inches, and its two axes."""
    figure = blank(size, compress)
    return figure, figure.subplots(2, 1) if stacked else figure.subplots(1, 2)


def _columns(history: HasHistory | Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    """The columns to draw, float64 with NaN for what is not finite, and "epoch"."""
    given = history if isinstance(history, Mapping) else history.history
    names = [f"{split}_{quantity}" for split, _, _ in SERIES for quantity, _, _ in PANELS]
    columns = {name: np.asarray(given[name], np.float64) for name in ("epoch", *names) if name in given}
    if not any(name in columns for name in names):
        raise ValueError(
            f"history: it has {', '.join(given) or 'no columns'}; wanted one or more of {', '.join(names)}"
        )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"history: columns have lengths {lengths}; wanted equal ones")
    columns = {name: np.where(np.isfinite(column), column, np.nan) for name, column in columns.items()}
    return {"epoch": np.arange(1.0, 1 + max(lengths.values()))} | columns


def _panel(axis: "Axes", columns: Mapping[str, np.ndarray], quantity: str) -> None:
    """Training and validation of one quantity against the epoch."""
    from matplotlib.ticker import MaxNLocator

    epoch, seen = columns["epoch"], False
    for split, label, style in SERIES:
        values = columns.get(f"{split}_{quantity}")
        if values is not None and np.isfinite(values).any():
            every = math.ceil(len(epoch) / MARKED)
            axis.plot(epoch, values, label=label, linewidth=1.4, markersize=3.5, markevery=every, **style)
            seen = True
    if not seen:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color=GREY, fontsize=MEDIUM)
        axis.set_yticks([])
    if len(epoch):
        axis.set_xlim(epoch.min() - 0.5, epoch.max() + 0.5) if len(epoch) < 30 else axis.margins(x=0.02)
    if max(map(abs, axis.get_ylim())) < 1e5:
        axis.ticklabel_format(axis="y", useOffset=False)
    else:  # a power of ten above the axis would stand where the label of the best epoch does
        axis.yaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axis.set_xlabel("epoch", fontsize=MEDIUM)
    axis.set_title(quantity.capitalize(), loc="left", fontsize=MEDIUM, fontweight="bold", pad=16)
    axis.tick_params(labelsize=SMALL, color=GREY)
    axis.grid(True, color=RULE, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _mark(axis: "Axes", epoch: np.ndarray, values: np.ndarray | None, word: str, best: Any) -> None:
    """A ring and a line at the best validation epoch; its label stands above the axes, where no curve can be."""
    found = _best(epoch, values, best)
    if found is None:
        return
    x, y = found
    axis.axvline(x, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    axis.plot([x], [y], "o", markersize=9, markerfacecolor="none", markeredgecolor="black", label="_best")
    low, high = axis.get_xlim()
    where = (x - low) / (high - low)
    axis.annotate(
        f"{word} validation: {f'{y:.4f}' if abs(y) < 100 else f'{y:.4g}'} at epoch {x:g}",
        (x, 1),
        (0, 3),
        xycoords=axis.get_xaxis_transform(),
        textcoords="offset points",
        ha="left" if where < 1 / 3 else "right" if where > 2 / 3 else "center",
        fontsize=SMALL,
        color="black",
    )


def _best(epoch: np.ndarray, values: np.ndarray | None, best: Any) -> tuple[float, float] | None:
    """(epoch, value) of the best, the first of equals; None where there is no number."""
    if values is None or np.isnan(values).all():
        return None
    index = int(np.nanargmin(values) if best is min else np.nanargmax(values))
    return float(epoch[index]), float(values[index])


def _headline(columns: Mapping[str, np.ndarray], space: str) -> str:
    """What the history shows."""
    found = _best(columns["epoch"], columns.get("valid_accuracy"), max)
    if found is None:
        n = len(columns["epoch"])
        return f"Training, {n} epoch{'s' if n != 1 else ''}"
    return f"Best validation accuracy {100 * found[1]:.1f} %{space}(epoch {found[0]:g} of {columns['epoch'].max():g})"


def _accuracy(right: int, n: int, space: str) -> str:
    """What the confusion matrix shows."""
    if n == 0:
        return "No images"
    low, high = metrics.wilson_interval(right, n)
    return (
        f"{right:,} of {n:,} right: {100 * right / n:.1f} %{space}(95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    )


def _counts(matrix: ArrayLike, class_names: Sequence[str]) -> np.ndarray:
    """matrix as int64, checked against the names."""
    given = np.asarray(matrix)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or given.shape[0] != len(class_names) or not given.size:
        raise ValueError(f"confusion: matrix has shape {given.shape} for {len(class_names)} class names; wanted (K, K)")
    counts = given.astype(np.int64) if given.dtype.kind in "iuf" and np.isfinite(given).all() else None
    if counts is None or (counts != given).any() or (counts < 0).any():
        raise ValueError("confusion: matrix holds something else than counts; wanted whole numbers, none below 0")
    return counts


def _grid(axis: "Axes", level: np.ndarray, cells: Iterable[Iterable[str]], names: Sequence[str]) -> None:
    """A matrix of texts on cells as dark as level (0 to 1) says."""
    import matplotlib

    shades = matplotlib.colormaps["Blues"]
    axis.imshow(level, cmap=shades, vmin=0, vmax=1)
    for i, row in enumerate(cells):
        for j, text in enumerate(row):
            weight = "bold" if i == j else "normal"
            colour = _ink(shades(level[i, j])[:3])
            axis.text(j, i, text, ha="center", va="center", color=colour, fontsize=SMALL, fontweight=weight)
    ticks = range(len(names))
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(ticks, names, fontsize=SMALL, parse_math=False, **slanted)
    axis.set_yticks(ticks, names, fontsize=SMALL, parse_math=False)
    axis.set_xlabel("predicted class", fontsize=MEDIUM)
    axis.set_ylabel("true class", fontsize=MEDIUM)
    axis.tick_params(length=0)
    axis.spines[:].set_color(RULE)


def _ink(background: Sequence[float]) -> str:
    """Black or white, whichever has the larger contrast (WCAG 2.2, relative luminance) against an sRGB colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"
