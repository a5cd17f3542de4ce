"""Several seeds of one recipe, in one table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"runs": runs, "mean": ..., "spread": ...}: the mean accuracy and its standard deviation over the seeds.

    Each run has seed, epoch (the best), accuracy, interval (Wilson's), n and split, and may have tta, a mapping with
    way and accuracy: that of test-time augmentation.  The spread divides by one less than the number of runs, and is
    None for one run.  ValueError without any.
    """
    if not runs:
        raise ValueError("summary: got no run; wanted one or more")
    accuracies = [run["accuracy"] for run in runs]
    spread = statistics.stdev(accuracies) if len(runs) > 1 else None
    return {"runs": [dict(run) for run in runs], "mean": statistics.fmean(accuracies), "spread": spread}


def markdown(name: str, found: Mapping[str, Any]) -> str:
    """A `summary` as a table of Markdown, with the data it was measured on below."""
    runs = found["runs"]
    ways = sorted({run["tta"]["way"] for run in runs if "tta" in run})
    head = ["seed", "best epoch", "accuracy", "95 % interval", *(f"with {way}" for way in ways)]
    lines = [_row(head), "|" + "---|" * len(head)]
    for run in runs:
        low, high = run["interval"]
        more = [f"{run['tta']['accuracy']:.4f}" if run.get("tta", {}).get("way") == way else "" for way in ways]
        lines.append(_row([run["seed"], run["epoch"], f"{run['accuracy']:.4f}", f"{low:.4f} to {high:.4f}", *more]))
    spread = "" if found["spread"] is None else f" ± {found['spread']:.4f}"
    mean = f"mean{' ± standard deviation' if spread else ''}"
    lines.append(_row([mean, "", f"{found['mean']:.4f}{spread}", "", *("" for _ in ways)]))
    measured = f"Measured on {runs[0]['split']}, n = {runs[0]['n']:,}, on which the best epoch was chosen too."
    return "\n".join([f"# {name}", "", *lines, "", measured, ""])


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
