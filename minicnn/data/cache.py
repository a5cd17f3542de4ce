"""Data sets as .npz files, and a cache of them, so that 271 MB of text are read once.

An .npz here holds `images`, `labels`, `usage`, `class_names` and, if there are any, `notes` and `ids`, as in `Dataset`.
It is a zip of plain arrays: nothing is unpickled, and the checksum of every array is compared when it is read.

A cache entry is such a file, named by what it was read from.  Deleting entries is always safe.
"""

import hashlib
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files
from minicnn.data.dataset import Dataset

VERSION = 2  # of what the readers make of the same bytes: raise it when they change, and old entries are not met again
CHUNK = 1 << 22  # bytes hashed at once by one thread
MOST_BYTES = 1 << 32  # of one array in an .npz: 1.8 million images
MEMBERS = {
    "images": "uint8 (N, 48, 48) or (N, 48, 48, 1)",
    "labels": "integers (N,)",
    "usage": "str (N,)",
    "class_names": "str (K,)",
    "notes": "str (K,)",
    "ids": "str (N,)",
}
OPTIONAL = {"notes", "ids"}
HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write_npz(path: Path, dataset: Dataset) -> None:
    """Write a data set whole or not at all; OSError where path cannot be written."""
    with files.atomic(path) as file:
        np.savez(
            file,
            images=dataset.images,
            labels=dataset.labels,
            usage=dataset.usage,
            class_names=np.array(dataset.class_names, np.str_),
            notes=np.array(dataset.notes, np.str_),
            ids=np.empty(0, np.str_) if dataset.ids is None else dataset.ids,
        )


def read_npz(path: Path) -> Dataset:
    """The data set in an .npz file; `notes` and `ids` may be missing.  ValueError names the file and what is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            there = {name.removesuffix(".npy") for name in archive.namelist()} | MEMBERS.keys() - OPTIONAL
            arrays = {name: _array(archive, name) for name in MEMBERS if name in there}
        return Dataset(
            arrays["images"].reshape(-1, 48, 48, 1),
            arrays["labels"].astype(np.int64),
            arrays["usage"],
            tuple(arrays["class_names"].tolist()),
            tuple(arrays["notes"].tolist()) if "notes" in arrays else (),
            arrays["ids"] if len(arrays.get("ids", ())) else None,
        )
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged zip raises nearly anything
        raise ValueError(f"{path}: {error or type(error).__name__}") from error


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array, after its header has been looked at: a header may declare more memory than there is."""
    if f"{name}.npy" not in archive.namelist():
        raise ValueError(f"no array {name!r}; wanted images, labels, usage and class_names")
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"array {name!r} has version {version} of the npy format, wanted one of {[*HEADERS]}")
        shape, _, dtype = HEADERS[version](file)
    if name == "images":
        fits = dtype == np.uint8 and shape[1:] in ((48, 48), (48, 48, 1))
    else:
        fits = dtype.kind in ("iu" if name == "labels" else "U") and len(shape) == 1
    if not fits or math.prod(shape) * dtype.itemsize > MOST_BYTES:
        raise ValueError(f"array {name!r} is {dtype} {shape}, wanted {MEMBERS[name]} of at most {MOST_BYTES} bytes")
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def content_key(named: Mapping[str, Path]) -> str:
    """A hash of the names and bytes of some files: equal for equal content, wherever the files lie."""
    whole = hashlib.sha256()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for name, path in named.items():
            size = path.stat().st_size
            whole.update(f"{name}\0{size}\0".encode())
            for digest in pool.map(partial(_chunk_digest, path), range(0, size, CHUNK)):
                whole.update(digest)
    return whole.hexdigest()


def _chunk_digest(path: Path, start: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(CHUNK)).digest()


def listing_key(listing: Iterable[tuple[str, int, int]]) -> str:
    """A hash of (name, size, modification time) of many small files, which are quicker listed than read."""
    whole = hashlib.sha256()
    for name, size, modified in listing:
        whole.update(f"{name}\0{size}\0{modified}\0".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def load(key: str) -> Dataset | None:
    """The data set stored under key; None where there is none, or none that can be read."""
    try:
        return read_npz(_entry(key))
    except (OSError, ValueError):
        return None


def store(key: str, dataset: Dataset) -> tuple[str, ...]:
    """Keep a data set under key; where that fails, a note that says so."""
    try:
        _entry(key).parent.mkdir(parents=True, exist_ok=True)
        write_npz(_entry(key), dataset)
    except OSError as error:
        return (f"not cached: the cache folder cannot be written ({error.strerror or error})",)
    return ()


def _entry(key: str) -> Path:
    """$MINICNN_CACHE, else $XDG_CACHE_HOME/minicnn, else ~/.cache/minicnn."""
    if named := os.environ.get("MINICNN_CACHE"):
        folder = Path(named)
    elif base := os.environ.get("XDG_CACHE_HOME"):
        folder = Path(base) / "minicnn"
    else:
        try:
            folder = Path.home() / ".cache" / "minicnn"
        except RuntimeError as error:
            raise OSError(str(error)) from error
    return folder / f"fer2013-{VERSION}-{key}.npz"
