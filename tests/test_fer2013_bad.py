"""Bad rows, damaged files and sizes that lie: one clear error, or left out and counted."""

import re
import zipfile
import zlib

import numpy as np
import pytest
from fer2013_files import (
    FACES,
    course,
    encoded,
    flipped,
    images,
    kaggle,
    npz,
    raw,
    same,
    truncated,
    zipped,
)

from minicnn.data import csv_format
from minicnn.data.fer2013 import load_fer2013


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))


def cell(index, value):
    """Put another value into a cell of the fourth line of Kaggle's file: the third row."""

    def edit(lines):
        cells = lines[3].split(",")
        return [*lines[:3], ",".join([*cells[:index], value, *cells[index + 1 :]]), *lines[4:]]

    return edit


def first_pixel(value):
    return lambda lines: cell(1, value + " " + lines[3].split(",")[1].split(" ", 1)[1])(lines)


def append(table, line):
    return lambda name, lines: [*lines, line] if name == table else lines


def empty_folder(folder, faces):
    return folder


def declaring(height, width):
    """A PNG that declares this size and holds one pixel."""
    png = encoded(np.zeros((1, 1, 1), np.uint8))
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + png[24:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]


def one_image(data, name="train/angry/Training_00000000.png"):
    return {name: data}


IN_PLACE = {  # one of the 21 rows or images is bad: what writes the data, the message
    "one pixel more": (kaggle(first_pixel("1 2")), r"line 4: 2305 pixels, wanted 2304 \(48 x 48\)"),
    "one pixel less": (kaggle(first_pixel("")), r"line 4: 2303 pixels, wanted 2304"),
    "no pixel": (kaggle(cell(1, "")), r"line 4: 0 pixels, wanted 2304"),
    "over 255": (kaggle(first_pixel("256")), r"line 4: pixel 1 is '256', wanted a whole number from 0 to 255"),
    "over 255 modulo 2^16": (kaggle(first_pixel("65536")), r"line 4: pixel 1 is '65536', wanted"),
    "four digits": (kaggle(first_pixel("1000")), r"line 4: pixel 1 is '1000', wanted"),
    "negative": (kaggle(first_pixel("-1")), r"line 4: pixel 1 is '-1', wanted"),
    "not a number": (kaggle(first_pixel("nan")), r"line 4: pixel 1 is 'nan', wanted"),
    "a fraction": (kaggle(first_pixel("7.0")), r"line 4: pixel 1 is '7.0', wanted"),
    "a tab": (kaggle(first_pixel("7\t7")), r"line 4: pixel 1 is '7\\t7', wanted"),
    "label 7": (kaggle(cell(0, "7")), r"line 4: label is '7', wanted 0 to 6"),
    "label -1": (kaggle(cell(0, "-1")), r"line 4: label is '-1', wanted 0 to 6"),
    "label missing": (kaggle(cell(0, "")), r"line 4: label is '', wanted 0 to 6"),
    "label in words": (kaggle(cell(0, "happy")), r"line 4: label is 'happy', wanted 0 to 6"),
    "unknown usage": (
        kaggle(cell(2, "Validation")),
        r"line 4: Usage is 'Validation', wanted Training, PublicTest, Pri",
    ),
    "column missing in a row": (
        kaggle(lambda lines: [*lines[:3], lines[3].rsplit(",", 1)[0], *lines[4:]]),
        r"line 4: 2 col",
    ),
    "a huge line": (kaggle(first_pixel("1 " * 70_000)), r"line 4: a line longer than 65536 bytes"),
    "rubbish": (
        kaggle(cell(1, "\0\x1b\xff")),
        r"line 4: pixel 1 is '\\x00\\x1b\\xff', wanted",
    ),
    "cut within the pixels": (truncated(kaggle(), -3000), r"line 22: 2 columns where the header has 3"),
    "cut within Usage": (truncated(kaggle(), -4), r"line 22: Usage is 'PublicT', wanted"),
    "image of 47": (
        images(one_image(encoded(np.zeros((47, 48, 1), "u1")))),
        r"00.png: 48 x 47 pixels of mode L, wanted 48 x",
    ),
    "image of 16 bits": (
        images(one_image(encoded(np.zeros((48, 48, 1), "u1"), mode="I;16"))),
        r"00.png: 48 x 48 pixels of mode I;16, wanted 48 x 48 of 8 bits",
    ),
    "image truncated": (
        images(one_image(encoded(FACES.images[0])[:700])),
        r"train/angry/Training_00000000.png: not readable \(.*trunc",
    ),
    "image empty": (images(one_image(b"")), r"00.png: not readable \(no PNG or JPEG\)"),
    "image of text": (zipped(one_image(b"<html>404</html>")), r"00.png: not readable \(no PNG or JPEG\)"),
    "GIF named png": (
        zipped(one_image(encoded(np.zeros((48, 48, 1), "u1"), kind="GIF"))),
        r"00.png: not readable \(no",
    ),
    "image that declares 64 M": (
        zipped(one_image(declaring(8000, 8000))),
        r"00.png: 8000 x 8000 pixels of mode L, wan",
    ),
    "image that declares 100 M": (
        zipped(one_image(declaring(10_000, 10_000))),
        r"00.png: not readable \(.*exceeds limit",
    ),
    "image that declares 4 G": (
        zipped(one_image(declaring(65_000, 65_000))),
        r"00.png: not readable \(.*exceeds limit",
    ),
    "zip bomb": (
        zipped(one_image(bytes(5 << 20)), compression=zipfile.ZIP_DEFLATED),
        r"00.png: 5242880 bytes, wanted at most 4194304",
    ),
    "damaged entry": (flipped(zipped(), 500), r"train/angry/Training_00000000.png: not readable \(Bad CRC-32"),
}


BESIDE = {  # a bad row or image beside the 21
    "course, train": (course(edit=append("train.csv", "9,1 2")), r"train.csv line 16: label is '9'"),
    "course, test": (course(edit=append("test.csv", "9,1 2")), r"test.csv line 9: 2 pixels, wanted 2304"),
    "course, long id": (
        course(edit=append("test.csv", "7" * 101 + ",1 2")),
        r"test.csv line 9: id '7{20}'\.\.\. has 101 bytes, wanted at most 100",
    ),
    "course, label": (
        course(edit=append("test_labels.csv", "1,x")),
        r"test_labels.csv line 9: label is 'x', wanted 0 to 6",
    ),
    "course, id twice": (
        course(edit=append("test_labels.csv", "100,0")),
        r"test_labels.csv line 9: id '100' stands twice",
    ),
    "no class folder": (images({"train/x.png": b""}), r"train/x.png: stands neither in train/<class>/ nor in test/<cl"),
    "no folder at all": (images({"x.png": b""}), r"x.png: stands neither in train/<class>/ nor"),
    "no known split": (zipped({"valid/sad/x.png": b""}), r"valid/sad/x.png: stands neither in train/<class>/ nor"),
}


@pytest.mark.parametrize(
    ("write", "message", "kept"),
    [
        pytest.param(*case, kept, id=name)
        for cases, kept in ((IN_PLACE, 20), (BESIDE, 21))
        for name, case in cases.items()
    ],
)
def test_a_bad_row_is_one_clear_error_or_left_out(write, message, kept, tmp_path):
    path = write(tmp_path, FACES)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: .*{message}") as raised:
        load_fer2013(path)
    assert "\n" not in str(raised.value)
    true_label = {image.tobytes(): label for image, label in zip(FACES.images, FACES.labels, strict=True)}
    for _ in range(2):  # the second time from the cache
        got = load_fer2013(path, on_bad="skip")
        assert re.fullmatch(rf"1 bad row left out, the first at .*{message}.*", got.notes[0])
        assert [true_label[image.tobytes()] for image in got.images] == got.labels.tolist()
        assert len(got) == kept
    with pytest.raises(ValueError, match=message):  # what was kept for "skip" is not given out for "error"
        load_fer2013(path)


BAD_FILES = {
    "empty file": (raw(b""), r"data.csv: an empty file"),
    "text": (
        raw(b"hello world\n"),
        r"data.csv: line 1: no column label in 'hello world'; wanted emotion,pixels,Usage or",
    ),
    "binary": (
        raw(b"\x80\x04\x95\xff\n"),
        r"data.csv: line 1: not UTF-8 text \(invalid start byte at byte 0\); wanted",
    ),
    "UTF-16": (raw("emotion,pixels,Usage\n".encode("utf-16")), r"line 1: not UTF-8 text"),
    "no Usage": (raw(b"emotion,pixels\n0,1\n"), r"line 1: no column Usage in 'emotion,pixels'; wanted"),
    "no pixels": (raw(b"emotion,Usage\n0,Training\n"), r"line 1: no column pixels in 'emotion,Usage'"),
    "no label": (raw(b"pixels,Usage\n"), r"line 1: no column emotion in 'pixels,Usage'"),
    "no feature": (raw(b"label\n1\n"), r"line 1: no column feature in 'label'"),
    "labels alone": (raw(b"id,label\n1,1\n"), r"line 1: no column feature in 'id,label'"),
    "semicolons": (raw(b"emotion;pixels;Usage\n"), r"line 1: no column label in 'emotion;pixels;Usage'"),
    "header alone": (raw(b"emotion,pixels,Usage\n"), r"data.csv: no image$"),
    "course, no label column": (
        course(edit=lambda name, lines: ["id,x"] if name == "test_labels.csv" else lines),
        r"test_labels.csv: line 1: no column label in 'id,x'; wanted id,label",
    ),
    "not a zip": (raw(b"PK\3\4 and no more", "data.zip"), r"data.zip: a damaged zip \(File is not a zip file\)"),
    "truncated zip": (truncated(zipped(), -30), r"images.zip: a damaged zip"),
    "empty zip": (raw(b"PK\5\6" + bytes(18), "data.zip"), r"data.zip: no images found; wanted train/<class>/\*.png or"),
    "empty folder": (
        empty_folder,
        r"no images found; wanted train/<class>/\*.png or .jpg \(or, in a folder, train.csv",
    ),
    "npz without usage": (
        npz(usage=None),
        r"fer2013.npz: no array 'usage'; wanted images, labels, usage and class_names",
    ),
    "npz without images": (npz(images=None), r"no array 'images'"),
    "npz, float images": (
        npz(images=np.zeros((21, 48, 48))),
        r"'images' is float64 \(21, 48, 48\), wanted uint8 \(N, 48",
    ),
    "npz, other size": (npz(images=np.zeros((21, 32, 32), np.uint8)), r"'images' is uint8 \(21, 32, 32\), wanted"),
    "npz, float labels": (npz(labels=np.zeros(21)), r"'labels' is float64 \(21,\), wanted integers \(N,\)"),
    "npz, pickled": (npz(labels=np.array([None] * 21)), r"'labels' is object \(21,\), wanted integers"),
    "npz, lengths": (npz(labels=np.zeros(20, np.int64)), r"Dataset: labels has shape \(20,\), wanted \(21,\)"),
    "npz, label 7": (npz(labels=np.full(21, 7)), r"label 7 of image 0 is no index into 7 class names"),
    "npz, damaged": (flipped(npz(), 5000), r"Bad CRC-32 for file 'images.npy'"),
    "npz, truncated": (truncated(npz(), 30_000), r"fer2013.npz: a damaged zip"),
}


@pytest.mark.parametrize("on_bad", ["error", "skip"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_always_an_error(name, on_bad, tmp_path):
    write, message = BAD_FILES[name]
    path = write(tmp_path, FACES)
    with pytest.raises(ValueError, match=message) as raised:
        load_fer2013(path, on_bad=on_bad)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_an_array_that_declares_more_than_memory(tmp_path):
    path = npz(images=None)(tmp_path, FACES)
    with zipfile.ZipFile(path, "a") as archive, archive.open("images.npy", "w") as file:
        shape = (10**10, 48, 48, 1)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with pytest.raises(
        ValueError, match=r"'images' is uint8 \(10000000000, 48, 48, 1\), wanted .* at most 4294967296 by"
    ):
        load_fer2013(path)


def test_a_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: no such file or folder"):
        load_fer2013(tmp_path / "nowhere.csv")


def test_an_unknown_on_bad(tmp_path):
    with pytest.raises(ValueError, match='on_bad is \'ignore\', wanted "error" or "skip"'):
        load_fer2013(tmp_path, on_bad="ignore")


def test_skip_counts_every_bad_row_and_keeps_the_others_in_order(tmp_path):
    many = FACES.subset(np.arange(3 * csv_format.BATCH) % 21)
    bad = {2: "label", 7: "pixel", 8: "count", csv_format.BATCH: "pixel", 3 * csv_format.BATCH - 1: "label"}

    def edit(lines):
        changed = list(lines)
        for row, kind in bad.items():
            label, pixels, usage = lines[row + 1].split(",")
            changed[row + 1] = {"label": f"x,{pixels},{usage}", "pixel": f"{label},{pixels}x,{usage}"}.get(
                kind, "0,1,x"
            )
        return changed

    got = load_fer2013(kaggle(edit)(tmp_path, many), on_bad="skip")
    same(got, many.subset([i for i in range(len(many)) if i not in bad]))
    assert got.notes == ("5 bad rows left out, the first at line 4: label is 'x', wanted 0 to 6",)


def test_the_first_bad_row_is_the_one_named(tmp_path):
    """Pixels are read after labels, a batch at a time; the message still names the first line."""
    path = kaggle(lambda lines: cell(0, "x")([*lines[:2], lines[2].replace(" ", " x", 1), *lines[3:]]))
    with pytest.raises(ValueError, match="line 3: pixel 2 is 'x"):
        load_fer2013(path(tmp_path, FACES))


def test_two_bad_rows_that_make_up_for_each_other(tmp_path):
    def edit(lines):
        cells = [line.split(",") for line in lines[2:4]]
        short = ",".join([cells[0][0], cells[0][1].rsplit(" ", 1)[0], cells[0][2]])
        return [*lines[:2], short, f"{cells[1][0]},{cells[1][1]} 7,{cells[1][2]}", *lines[4:]]

    got = load_fer2013(kaggle(edit)(tmp_path, FACES), on_bad="skip")
    assert got.notes == ("2 bad rows left out, the first at line 3: 2303 pixels, wanted 2304 (48 x 48)",)
    same(got, FACES.subset([0, *range(3, 21)]))


def test_nothing_but_bad_rows(tmp_path):
    path = raw(b"emotion,pixels,Usage\n0,1,Training\n0,2,Training\n")(tmp_path, None)
    with pytest.raises(ValueError, match=r"data.csv: no image; 2 bad rows left out, the first at line 2: 1 pixels"):
        load_fer2013(path, on_bad="skip")
