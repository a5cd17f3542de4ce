"""FER2013 as comma-separated text: a row is an image, its pixels decimal numbers with spaces between.

The header tells the layout; columns stand in any order, quoted or not, and others may stand beside them:

    emotion,pixels,Usage    Kaggle's file
    label,feature           the course's train.csv: all Training
    id,feature              the course's test.csv: all PublicTest, unlabelled; test_labels.csv holds id,label

Turning text into numbers is nearly all of the work, and NumPy does it for some hundred rows at once.  Let c_i be the
characters of the rows, d_i = c_i - 48, and a number end at i = e.  With t = 1 where e-1 holds a digit (else 0), and
h = 1 where both e-1 and e-2 do, a number of up to three digits is

    v_e = d_e + 10 t d_{e-1} + 100 h d_{e-2}                       (1)

The rest is to see that nothing else is there: other characters, longer numbers, values over 255, or a row that has not
as many numbers as pixels.  A batch with any of these is halved until the bad row stands alone.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn.data.dataset import FER_CLASSES, SPLITS, UNLABELLED, Dataset

SIDE = 48
PIXELS = SIDE * SIDE
BATCH = 128  # rows parsed at once: 1 MB of text, so that the arrays of (1) stay in the processor's cache
LONGEST_LINE = 1 << 16  # bytes; a row of three-digit pixels has 9.2 kB
LONGEST_ID = 100  # bytes; an array of text takes as much room for each entry as for the longest
LAYOUTS = (("emotion", "pixels", "Usage"), ("label", "feature"), ("id", "feature"))
USAGES = {name.lower().encode(): name for name in SPLITS}

Bad = Callable[[str, str], None]  # what a reader calls with a bad row's place and the reason: it may raise


@dataclass
class Rows:
    """The good rows so far.  The pixels are a bytearray because that grows in place: an array made of a list of
    pieces would stand in memory twice."""

    pixels: bytearray = field(default_factory=bytearray)
    labels: list[int] = field(default_factory=list)
    usage: list[str] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)

    def dataset(self, notes: tuple[str, ...] = ()) -> Dataset:
        images = np.frombuffer(self.pixels, np.uint8).reshape(-1, SIDE, SIDE, 1)
        usage = np.array(self.usage, dtype=f"<U{max(map(len, SPLITS))}")
        ids = np.array([key.decode("utf-8", "replace") for key in self.ids], np.str_) if any(self.ids) else None
        return Dataset(images, np.array(self.labels, np.int64), usage, FER_CLASSES, notes, ids)


def read_csv(path: Path, bad: Bad) -> Dataset:
    """The images of one file.  ValueError where the header has none of the three layouts."""
    rows = Rows()
    _read_images(path, rows, None, lambda line, reason: bad(f"line {line}", reason))
    return rows.dataset()


def read_course(folder: Path, bad: Bad) -> Dataset:
    """The images of train.csv (Training), then of test.csv (PublicTest), whichever is there; test.csv's labels are
    joined by id from test_labels.csv, and are -1 where that has none."""

    def bad_in(name: str) -> Callable[[int, str], None]:
        return lambda line, reason: bad(f"{name} line {line}", reason)

    rows, notes = Rows(), []
    if (folder / "train.csv").is_file():
        _read_images(folder / "train.csv", rows, "Training", bad_in("train.csv"))
    first = len(rows.labels)
    if (folder / "test.csv").is_file():
        _read_images(folder / "test.csv", rows, "PublicTest", bad_in("test.csv"))
    if (folder / "test_labels.csv").is_file():
        labels = _read_labels(folder / "test_labels.csv", bad_in("test_labels.csv"))
        rows.labels[first:] = [labels.get(key, UNLABELLED) for key in rows.ids[first:]]
        if missing := rows.labels[first:].count(UNLABELLED):
            notes.append(f"test_labels.csv has no label for {missing} of {len(rows.ids) - first} test rows")
    return rows.dataset(tuple(notes))


class Columns(NamedTuple):
    """Where the header puts each column, -1 for one that is not there."""

    width: int
    pixels: int
    label: int
    usage: int
    id: int


def _columns(path: Path, line: bytes, layouts: tuple[tuple[str, ...], ...]) -> Columns:
    """Read the header; ValueError where a column of the layout that it is nearest to is missing."""
    wanted = "wanted " + " or ".join(",".join(layout) for layout in layouts)
    try:
        header = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: line 1: not UTF-8 text ({error.reason} at byte {error.start}); {wanted}") from None
    names = [cell.strip(' "').lower() for cell in header.split(",")]
    missing = min(([name for name in layout if name.lower() not in names] for layout in layouts), key=len)
    if missing:
        raise ValueError(f"{path}: line 1: no column {missing[0]} in {header[:60]!r}; {wanted}")
    place = {name: index for index, name in reversed(list(enumerate(names)))}
    return Columns(
        len(names),
        place.get("pixels", place.get("feature", -1)),
        place.get("emotion", place.get("label", -1)),
        place.get("usage", -1),
        place.get("id", -1),
    )


def _lines(file: io.BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """(number, line) of every line from the second on that is not blank; of a line too long, only its beginning."""
    number = 1
    while line := file.readline(LONGEST_LINE):
        number += 1
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE)
        if line.strip():
            yield number, line


def _read_images(path: Path, rows: Rows, usage: str | None, bad: Callable[[int, str], None]) -> None:
    """Append the good rows of one file to rows and report the bad ones, both in the order of the file.

    usage is the split of all rows where no column says; None leaves it to the layout."""
    with open(path, "rb") as file:
        columns = _columns(path, file.readline(LONGEST_LINE), LAYOUTS)
        usage = usage or ("Training" if columns.id < 0 else "PublicTest")
        lines = _lines(file)
        while batch := list(islice(lines, BATCH)):
            good, reasons = {}, {}
            for number, line in batch:
                try:
                    good[number] = _row(line, columns, usage)
                except ValueError as error:
                    reasons[number] = str(error)
            rows.pixels += _pixels(list(good), [row[0] for row in good.values()], reasons)
            for number in sorted(reasons):
                bad(number, reasons[number])
                good.pop(number, None)
            for _, label, usage, key in good.values():
                rows.labels.append(label)
                rows.usage.append(usage)
                rows.ids.append(key)


def _row(line: bytes, columns: Columns, usage: str) -> tuple[bytes, int, str, bytes]:
    """(pixels still as text, label, usage, id) of a line; ValueError gives the reason where it is bad."""
    cells = _cells(line, columns)
    if columns.usage >= 0:
        text = cells[columns.usage].lower()
        if text not in USAGES:
            raise ValueError(f"Usage is {_show(cells[columns.usage])}, wanted {', '.join(SPLITS)}")
        usage = USAGES[text]
    label = _label(cells[columns.label]) if columns.label >= 0 else UNLABELLED
    key = cells[columns.id] if columns.id >= 0 else b""
    if len(key) > LONGEST_ID:
        raise ValueError(f"id {_show(key)}... has {len(key)} bytes, wanted at most {LONGEST_ID}")
    return cells[columns.pixels], label, usage, key


def _cells(line: bytes, columns: Columns) -> list[bytes]:
    if len(line) >= LONGEST_LINE:
        raise ValueError(f"a line longer than {LONGEST_LINE} bytes")
    cells = [cell.strip(b' "\t\r\n') for cell in line.split(b",")]
    if len(cells) != columns.width:
        raise ValueError(f"{len(cells)} columns where the header has {columns.width}")
    return cells


def _label(text: bytes) -> int:
    if not (text.isdigit() and len(text) == 1 and int(text) < len(FER_CLASSES)):
        raise ValueError(f"label is {_show(text)}, wanted 0 to {len(FER_CLASSES) - 1}")
    return int(text)


def _pixels(numbers: list[int], texts: list[bytes], reasons: dict[int, str]) -> bytes:
    """The pixels of the good rows, end to end; the reason of each bad row goes into reasons under its number."""
    parsed = _parse(texts)
    if parsed is not None:
        return parsed.tobytes()
    if len(texts) == 1:
        reasons[numbers[0]] = _reason(texts[0])
        return b""
    half = len(texts) // 2
    return _pixels(numbers[:half], texts[:half], reasons) + _pixels(numbers[half:], texts[half:], reasons)


def _parse(texts: list[bytes]) -> np.ndarray | None:
    """The numbers of all rows, uint8 (len(texts) * PIXELS,), by (1); None where any row is not as it should be."""
    margin = b"   "  # so that e-3 is never before the text
    characters = np.frombuffer(margin + b" ".join(texts) + b" ", np.uint8)
    digits = characters - np.uint8(ord("0"))  # wraps round below "0"
    is_digit = digits < 10
    if not (is_digit | (characters == ord(" "))).all():
        return None
    e = np.flatnonzero(is_digit[:-1] > is_digit[1:])
    row_ends = len(margin) + np.cumsum([len(text) + 1 for text in texts])
    if not np.array_equal(np.searchsorted(e, row_ends), PIXELS * np.arange(1, len(texts) + 1)):
        return None
    t = is_digit[e - 1]
    h = t & is_digit[e - 2]
    value = digits[e] + np.uint16(10) * (t * digits[e - 1]) + np.uint16(100) * (h * digits[e - 2])  # (1)
    if (value > 255).any() or (h & is_digit[e - 3]).any():
        return None
    return value.astype(np.uint8)


def _reason(text: bytes) -> str:
    """Why `_parse` refuses this row."""
    tokens = [token for token in text.split(b" ") if token]
    for index, token in enumerate(tokens):
        if not (token.isdigit() and len(token) <= 3 and int(token) <= 255):
            return f"pixel {index + 1} is {_show(token)}, wanted a whole number from 0 to 255"
    return f"{len(tokens)} pixels, wanted {PIXELS} ({SIDE} x {SIDE})"


def _show(text: bytes) -> str:
    return ascii(text[:20].decode("utf-8", "replace"))


def _read_labels(path: Path, bad: Callable[[int, str], None]) -> dict[bytes, int]:
    """{id: label} of the course's test_labels.csv."""
    labels: dict[bytes, int] = {}
    with open(path, "rb") as file:
        columns = _columns(path, file.readline(LONGEST_LINE), (("id", "label"),))
        for number, line in _lines(file):
            try:
                cells = _cells(line, columns)
                key, label = cells[columns.id], _label(cells[columns.label])
                if key in labels:
                    raise ValueError(f"id {_show(key)} stands twice")
                labels[key] = label
            except ValueError as error:
                bad(number, str(error))
    return labels
