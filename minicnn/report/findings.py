"""What the numbers of a run say, in sentences."""

import math
from collections.abc import Iterator

import numpy as np

from minicnn import metrics
from minicnn.report.markup import number, percent
from minicnn.report.run import Run


def history_facts(run: Run) -> Iterator[str]:
    """How far training and validation are apart, and whether the model overfits."""
    rows, result = run.history.rows, run.result
    at_best = next((row for row in rows if result and row.get("epoch") == result.epoch), {})
    gap = at_best.get("train_accuracy", math.nan) - (result.accuracy if result else math.nan)
    if math.isfinite(gap):
        seen, apart = percent(at_best["train_accuracy"]), f"{100 * abs(gap):.1f} points"
        side = "above" if gap >= 0 else "below"
        yield f"At the best epoch the training accuracy is {seen}, {apart} {side} the validation accuracy."
    lowest = best_epoch(run, "valid_loss")
    learns = lowest and rows[-1].get("train_loss", math.nan) < lowest.get("train_loss", math.nan)
    if lowest and rows[-1].get("valid_loss", math.nan) > 1.05 * lowest["valid_loss"]:
        yield (
            f"The validation loss is lowest at epoch {lowest.get('epoch', math.nan):g} "
            f"({number(lowest['valid_loss'])}) and has risen to {number(rows[-1]['valid_loss'])} by the last one"
            + (", while the training loss fell: the model overfits." if learns else ".")
        )


def class_facts(run: Run) -> Iterator[str]:
    """The easiest and the hardest class, the most frequent mistakes, and what a constant answer would reach."""
    if run.result is None or run.result.confusion is None:
        return
    counts, names = run.result.confusion, run.result.class_names
    n, share = counts.sum(axis=1), metrics.normalize_rows(counts)
    seen = np.flatnonzero(n)
    ranked = sorted(seen, key=lambda k: share[k, k])
    if len(ranked) > 1:
        worst, best = ranked[0], ranked[-1]
        yield (
            f"Easiest is {names[best]} with {percent(share[best, best])} right, "
            f"hardest {names[worst]} with {percent(share[worst, worst])}."
        )
    if mistakes := _mistakes(counts):
        said = ", ".join(f"{names[i]} taken for {names[j]} ({c:,} of {n[i]:,})" for i, j, c in mistakes)
        yield f"The most frequent mistakes: {said}."
    yield f"Always answering {names[n.argmax()]} would be right for {percent(n.max() / n.sum())}."


def _mistakes(counts: np.ndarray, most: int = 3) -> list[tuple[int, int, int]]:
    """(true class, predicted class, count) of the most frequent mistakes, the most frequent first."""
    wrong = [(int(i), int(j), int(counts[i, j])) for i, j in np.argwhere(counts) if i != j]
    return sorted(wrong, key=lambda mistake: -mistake[2])[:most]


def best_epoch(run: Run, column: str) -> dict[str, float] | None:
    """The row of the history in which a column was best; None where it has no number."""
    try:
        return run.history.best(column)
    except ValueError:
        return None
