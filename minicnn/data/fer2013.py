"""FER2013 (Goodfellow et al. 2013, arXiv 1307.0414) from every shape in which people hold it."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from minicnn.data import cache as cached
from minicnn.data import csv_format, folder_format
from minicnn.data.dataset import Dataset

TABLES = ("train.csv", "test.csv", "test_labels.csv")  # of the course
ZIP_MAGIC = (b"PK\3\4", b"PK\5\6")  # the second: an empty zip

Reader = Callable[[Path, Callable[[str, str], None]], Dataset]


class _BadRows:
    """What is done with a bad row: the first is an error, or all are counted."""

    def __init__(self, path: Path, on_bad: str):
        self.path, self.on_bad, self.count, self.first = path, on_bad, 0, ""

    def __call__(self, where: str, reason: str) -> None:
        if self.on_bad == "error":
            raise ValueError(f"{self.path}: {where}: {reason}")
        self.first = self.first or f"{where}: {reason}"
        self.count += 1

    def notes(self) -> tuple[str, ...]:
        rows = "1 bad row" if self.count == 1 else f"{self.count} bad rows"
        return (f"{rows} left out, the first at {self.first}",) if self.count else ()


def load_fer2013(
    path: str | os.PathLike[str], split: str | None = None, *, on_bad: str = "error", cache: bool = True
) -> Dataset:
    """The images at path as a `Dataset`: `.images` uint8 (N, 48, 48, 1), `.labels`, `.usage`, `.class_names`.

    path     Kaggle's csv (emotion,pixels,Usage); the course's train.csv or test.csv, or the folder of both and, if
             there, test_labels.csv; a folder or a zip of train/<class>/*.png or .jpg; or an .npz of images, labels,
             usage and class_names.  The content tells which.  Any subset of the splits may be there.
    split    only "Training", "PublicTest" or "PrivateTest"; None for all
    on_bad   "error": the first bad row or image raises ValueError.  "skip": bad ones are left out, and a note in
             `Dataset.notes` tells how many and why the first.
    cache    keep what was read under $MINICNN_CACHE, $XDG_CACHE_HOME/minicnn or ~/.cache/minicnn, and take it from
             there when the same content is read again: the same bytes, or for a folder of images the same names, sizes
             and modification times.  Where that folder cannot be written, a note tells so.

    The order is that of the file, or for image files that of their names (`folder_format`).  FileNotFoundError for a
    missing path; ValueError, naming file, line (the header is line 1) or image, and the reason, for anything that is
    not what it should be.
    """
    path = Path(path)
    if on_bad not in ("error", "skip"):
        raise ValueError(f'load_fer2013: on_bad is {on_bad!r}, wanted "error" or "skip"')
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    reader, key = _look(path)
    entry = f"{on_bad}-{key()}" if cache and key else ""
    dataset = cached.load(entry) if entry else None
    if dataset is None:
        bad = _BadRows(path, on_bad)
        dataset = reader(path, bad)
        if not len(dataset):
            raise ValueError(f"{path}: no image" + "".join(f"; {note}" for note in bad.notes()))
        dataset = replace(dataset, notes=dataset.notes + bad.notes())
        if entry:
            dataset = replace(dataset, notes=dataset.notes + cached.store(entry, dataset))
    try:
        return dataset if split is None else dataset.split(split)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _look(path: Path) -> tuple[Reader, Callable[[], str] | None]:
    """(what reads path, what computes the key of its content): an .npz has none, being what the cache would hold."""
    if path.is_dir():
        tables = {name: path / name for name in TABLES if (path / name).is_file()}
        if tables.keys() & {"train.csv", "test.csv"}:
            return csv_format.read_course, lambda: cached.content_key(tables)
        return folder_format.read_folder, lambda: cached.listing_key(folder_format.listing(path))
    with open(path, "rb") as file:
        beginning = file.read(4)
    if not beginning:
        raise ValueError(f"{path}: an empty file")
    if beginning not in ZIP_MAGIC:
        return csv_format.read_csv, lambda: cached.content_key({"": path})
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = any(name.endswith(".npy") for name in archive.namelist())
    except Exception as error:  # a damaged zip raises nearly anything
        raise ValueError(f"{path}: a damaged zip ({error})") from error
    if arrays:
        return lambda path, bad: cached.read_npz(path), None
    return folder_format.read_zip, lambda: cached.content_key({"": path})
