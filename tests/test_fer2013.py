"""FER2013 from every format: the same images, labels and splits, in a known order and in little memory."""

import io
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from fer2013_files import (
    FACES,
    course,
    images,
    kaggle,
    kaggle_lines,
    named_images,
    npz,
    real_archive,
    realdata,
    reorder,
    same,
    zipped,
)
from PIL import Image

from minicnn.data import csv_format
from minicnn.data.dataset import FER_CLASSES, SPLITS, Dataset
from minicnn.data.fer2013 import load_fer2013


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))


SPELLED = ("Angry", "disgusted", "FEARFUL", "happiness", "sadness", "Surprised", "neutral")
LEFT_BEHIND = {"train/angry/.DS_Store": b"x", "train/angry/._Training_1.png": b"x", "README.txt": b"x"}
FORMATS = {
    "kaggle": kaggle(),
    "kaggle, CRLF": kaggle(join="\r\n", end="\r\n"),
    "kaggle, BOM": kaggle(prefix=b"\xef\xbb\xbf"),
    "kaggle, BOM and quotes": kaggle(reorder('"{0}","{1}","{2}"'), prefix=b"\xef\xbb\xbf", join="\r\n"),
    "kaggle, other order and spaces": kaggle(reorder("{0}, {2}, {1}")),
    "kaggle, one more column": kaggle(reorder("x,{2},{1},{0}")),
    "kaggle, lower case": kaggle(lambda lines: [line.lower() for line in lines]),
    "kaggle, no newline at the end": kaggle(end=""),
    "kaggle, blank lines": kaggle(join="\n\n", end="\n\n \n"),
    "kaggle, spaces around pixels": kaggle(
        lambda lines: [line.replace(" ", "   ").replace(",", " , ") for line in lines]
    ),
    "kaggle, named .zip": kaggle(name="fer2013.zip"),
    "course": course(),
    "course, CRLF and quotes": course(
        edit=lambda name, lines: [",".join(f'"{c}"' for c in line.split(",")) + "\r" for line in lines]
    ),
    "folder": images(),
    "folder, names of files": images(folders=("x", "y")),
    "folder, names of folders": images(prefix=False),
    "folder, capitals": images(prefix=False, folders=("Train", "TEST")),
    "folder, one more above": images(top="archive/"),
    "folder, other spellings": images(spelling=SPELLED),
    "folder, colour": images(mode="RGB", suffix="PNG"),
    "folder, alpha": images(mode="LA"),
    "folder, palette": images(mode="P"),
    "folder, with other files": images(extra=LEFT_BEHIND),
    "zip": zipped(),
    "zip, compressed": zipped(compression=zipfile.ZIP_DEFLATED),
    "zip, one more above": zipped(top="fer2013/", name="download"),
    "zip, with other files": zipped(extra={"__MACOSX/train/angry/Training_1.png": b"x", **LEFT_BEHIND}),
    "zip, backslashes": zipped(separator="\\"),
    "npz": npz(),
    "npz, compressed": npz(np.savez_compressed, name="fer2013.dat"),
    "npz, N 48 48 and small labels": npz(
        images=lambda faces: faces.images[..., 0], labels=lambda faces: faces.labels.astype(np.uint8)
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_data(name, tmp_path):
    (tmp_path / "data").mkdir()
    path = FORMATS[name](tmp_path / "data", FACES)
    for _ in range(2):  # the second time from the cache
        got = load_fer2013(path)
        same(got, FACES, ordered="folder" not in name and "zip, " not in name and name != "zip")
        assert got.notes == ()
        for split in ("Training", "PublicTest"):
            assert set(load_fer2013(str(path), split).usage) == {split}
    with pytest.raises(ValueError, match=r"data.*: no split 'PrivateTest' here; there is Training, PublicTest"):
        load_fer2013(path, "PrivateTest")


def test_jpeg(tmp_path):
    smooth = replace(
        FACES, images=np.broadcast_to(np.arange(48, dtype=np.uint8)[:, None, None] * 5, FACES.images.shape)
    )
    got = load_fer2013(images(kind="JPEG", suffix="jpg", quality=95)(tmp_path, smooth))
    np.testing.assert_allclose(got.images.astype(int), smooth.images, atol=4)


@pytest.mark.parametrize("write", [images(), zipped()], ids=["folder", "zip"])
def test_image_files_come_in_the_order_of_their_names(write, tmp_path):
    names = named_images(FACES)
    path = write(tmp_path, FACES)
    want = [np.asarray(Image.open(io.BytesIO(names[name]))) for name in sorted(names)]
    np.testing.assert_array_equal(load_fer2013(path).images[..., 0], want)


def test_privatetest_stands_in_the_test_folder_of_the_repacking(tmp_path):
    three = replace(FACES, usage=np.array(SPLITS)[np.arange(21) % 3])
    same(load_fer2013(images()(tmp_path, three)), three, ordered=False)


def test_other_classes_are_numbered_alphabetically(tmp_path):
    spelling = ("zebra", "cat", "happy", "dog", "sad", "fear", "cow")
    got = load_fer2013(images(spelling=spelling)(tmp_path, FACES))
    order = {name: i for i, name in enumerate(sorted(spelling))}
    want = replace(
        FACES, labels=np.array([order[spelling[i]] for i in FACES.labels]), class_names=tuple(sorted(spelling))
    )
    same(got, want, ordered=False)


def test_one_class_of_fer_keeps_its_number(tmp_path):
    happy = FACES.subset(FACES.labels == 3)
    same(load_fer2013(images()(tmp_path, happy)), happy, ordered=False)


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
def test_one_table_of_the_course(name, tmp_path):
    want = FACES.split("Training" if name == "train.csv" else "PublicTest")
    if name == "test.csv":
        want = replace(want, labels=np.full(7, -1))
    same(load_fer2013(course()(tmp_path, FACES) / name), want)


def test_course_without_train_and_labels(tmp_path):
    want = replace(FACES.split("PublicTest"), labels=np.full(7, -1))
    same(load_fer2013(course(labels=False, train=False)(tmp_path, FACES)), want)


def test_course_with_some_labels(tmp_path):
    got = load_fer2013(
        course(edit=lambda name, lines: lines[:4] if name == "test_labels.csv" else lines)(tmp_path, FACES)
    )
    np.testing.assert_array_equal(got.labels[14:], [-1, -1, -1, -1, 4, 5, 6])
    assert got.notes == ("test_labels.csv has no label for 4 of 7 test rows",)


def test_many_rows_in_batches(tmp_path):
    many = FACES.subset(np.arange(3 * csv_format.BATCH + 1) % 21)
    same(load_fer2013(kaggle()(tmp_path, many)), many)


def test_every_value_and_every_length_of_number(tmp_path):
    values = np.arange(3 * 48 * 48).reshape(3, 48, 48, 1).astype(np.uint8)
    every = Dataset(values, np.zeros(3, np.int64), np.array(["Training"] * 3), FER_CLASSES)
    same(load_fer2013(kaggle()(tmp_path, every)), every)
    padded = kaggle(lambda lines: [line.replace(" 7 ", " 007 ").replace(" 42 ", " 042 ") for line in lines])
    same(load_fer2013(padded(tmp_path, every)), every)


def test_peak_memory_is_below_three_times_the_images(tmp_path):
    lines = kaggle_lines(FACES)
    path = tmp_path / "big.csv"
    with open(path, "w") as file:
        file.write("\n".join([lines[0]] + lines[1:] * 400) + "\n")
    tracemalloc.start()
    try:
        images = load_fer2013(path).images
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(images) == 8400
    assert peak < 3 * images.nbytes


@realdata
def test_the_real_images(tmp_path):
    data = load_fer2013(real_archive())
    assert data.split_counts() == {"Training": 28709, "PublicTest": 3589}
    assert np.bincount(data.split("Training").labels).tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert np.bincount(data.split("PublicTest").labels).tolist() == [467, 56, 496, 895, 653, 415, 607]
    assert (data.class_names, data.notes) == (FER_CLASSES, ())
    some = data.subset(np.arange(0, len(data), 40))
    same(load_fer2013(kaggle()(tmp_path, some)), some)
