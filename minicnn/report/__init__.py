"""A run folder as one page: what was found, how sure one may be of it, and how to find it again.

The page is a single file without scripts and without anything from the network, so that it can be mailed, archived and
printed.  It holds no time, host or path: equal runs give equal bytes.
"""

import os
from pathlib import Path

from minicnn import files
from minicnn.report.page import render
from minicnn.report.run import read


def write(run: str | os.PathLike[str]) -> Path:
    """Write run/report.html from what the folder holds, whole or not at all, and return its path.

    Read are config.json (the options), history.csv (`train.History`), metrics.json (the best model on its validation
    images) and best.safetensors (`models.save`).  What is missing or damaged is named on the page, which is written all
    the same.  NotADirectoryError where there is no such folder.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise NotADirectoryError(f"{run}: no such folder; wanted the folder of a run")
    path = folder / "report.html"
    files.write_text(path, render(read(folder)))
    return path


__all__ = ["write"]
