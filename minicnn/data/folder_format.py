"""FER2013 as image files: train/<class>/*.png or .jpg, in a folder or a zip, possibly under one more top folder.

The split is the prefix of the file name (Training_, PublicTest_, PrivateTest_); a file without one takes it from the
folder above its class, train (Training) or test (PublicTest).  Images come in the order of their names, folders
included, compared as text.  Class folders that are all FER's, in any of the common spellings, take Kaggle's labels 0 to
6; any other set of classes is numbered in alphabetical order.  Colour becomes grey by ITU-R BT.601,
0.299 R + 0.587 G + 0.114 B.
"""

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from minicnn.data.dataset import FER_CLASSES, SPLITS, Dataset

SIZE = (48, 48)
SUFFIXES = (".png", ".jpg", ".jpeg")
DEEPEST = 8  # folders below each other: a loop of links ends somewhere
LARGEST_FILE = 1 << 22  # bytes of one image file; a true one has 2 kB
SPLIT_FOLDERS = {
    "train": "Training",
    "training": "Training",
    "test": "PublicTest",
    "publictest": "PublicTest",
    "privatetest": "PrivateTest",
}
SPELLINGS = {
    "angry": "angry anger",
    "disgust": "disgust disgusted",
    "fear": "fear fearful afraid scared",
    "happy": "happy happiness joy",
    "sad": "sad sadness",
    "surprise": "surprise surprised",
    "neutral": "neutral",
}
FER_LABELS = {word: FER_CLASSES.index(name) for name, words in SPELLINGS.items() for word in words.split()}

Bad = Callable[[str, str], None]  # what a reader calls with a bad image's name and the reason: it may raise


class Entry(NamedTuple):
    """An image file that has not been read yet."""

    name: str  # relative, with forward slashes
    size: int
    read: Callable[[], bytes]


def read_folder(folder: Path, bad: Bad) -> Dataset:
    """The images below a folder.  ValueError where there is none."""
    return _read([Entry(name, size, (folder / name).read_bytes) for name, size, _ in listing(folder)], folder, bad)


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """(name, size, modification time in ns) of every image file below folder, in the order of the names."""
    return sorted(_walk(folder, "", DEEPEST))


def _walk(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if depth:
                    yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", depth - 1)
            elif _is_image(prefix + entry.name):
                status = entry.stat()
                yield prefix + entry.name, status.st_size, status.st_mtime_ns


def read_zip(path: Path, bad: Bad) -> Dataset:
    """The images in a zip.  ValueError where there is none."""
    with zipfile.ZipFile(path) as archive:
        found = [(info.filename.replace("\\", "/"), info) for info in archive.infolist()]
        entries = [Entry(name, i.file_size, partial(archive.read, i)) for name, i in found if _is_image(name)]
        return _read(sorted(entries, key=lambda entry: entry.name), path, bad)


def _is_image(name: str) -> bool:
    """Whether this is an image file, and not one that a file manager left behind."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    return name.lower().endswith(SUFFIXES) and not hidden


def _read(entries: list[Entry], source: Path, bad: Bad) -> Dataset:
    if not entries:
        raise ValueError(
            f"{source}: no images found; wanted train/<class>/*.png or .jpg (or, in a folder, train.csv and test.csv)"
        )
    placed = []
    for entry in entries:
        try:
            placed.append((entry, *_place(entry.name)))
        except ValueError as error:
            bad(entry.name, str(error))
    class_names, label_of = _number({name for _, _, name in placed})
    images = np.empty((len(placed), *SIZE, 1), np.uint8)
    labels: list[int] = []
    usage: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for entry, split, name in placed:
            try:
                images[len(labels), :, :, 0] = _decode(entry)
            except ValueError as error:
                bad(entry.name, str(error))
            else:
                labels.append(label_of[name])
                usage.append(split)
    return Dataset(images[: len(labels)], np.array(labels, np.int64), np.array(usage, np.str_), class_names)


def _place(name: str) -> tuple[str, str]:
    """(split, class folder) of an image, from its name; ValueError where one of them cannot be told."""
    *folders, file = PurePosixPath(name).parts
    prefix, underscore, _ = file.partition("_")
    split = prefix if underscore and prefix in SPLITS else SPLIT_FOLDERS.get(folders[-2].lower() if folders[1:] else "")
    if split is None or not folders:
        raise ValueError("stands neither in train/<class>/ nor in test/<class>/")
    return split, folders[-1]


def _number(found: set[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """(class names, {folder: label})."""
    if all(name.lower() in FER_LABELS for name in found):
        return FER_CLASSES, {name: FER_LABELS[name.lower()] for name in found}
    return tuple(sorted(found)), {name: label for label, name in enumerate(sorted(found))}


def _decode(entry: Entry) -> np.ndarray:
    """uint8 (48, 48) from a file, whose declared sizes are looked at before memory is taken for them."""
    if entry.size > LARGEST_FILE:
        raise ValueError(f"{entry.size} bytes, wanted at most {LARGEST_FILE}")
    try:
        with Image.open(io.BytesIO(entry.read()), formats=("PNG", "JPEG")) as image:
            size, mode = image.size, image.mode
            grey = np.asarray(image.convert("L")) if size == SIZE and not mode.startswith(("I", "F")) else None
    except Exception as error:  # a damaged image or zip raises nearly anything
        reason = "no PNG or JPEG" if isinstance(error, Image.UnidentifiedImageError) else error
        raise ValueError(f"not readable ({reason})") from error
    if grey is None:
        raise ValueError(f"{size[0]} x {size[1]} pixels of mode {mode}, wanted {SIZE[0]} x {SIZE[1]} of 8 bits")
    return grey
