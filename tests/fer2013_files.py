"""Small FER2013 data sets written in every shape in which people hold them, whole or damaged, for the tests."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn.data.dataset import FER_CLASSES, Dataset

REALDATA = Path(os.environ.get("MINICNN_FER2013", Path(__file__).parents[1].parent / "shared" / "data" / "fer2013"))
NO_REALDATA = f"no FER2013 at {REALDATA} (the environment variable MINICNN_FER2013 says where)"


def realdata(test):
    """Mark a test or class that needs the real images."""
    return pytest.mark.realdata(pytest.mark.skipif(not REALDATA.exists(), reason=NO_REALDATA)(test))


def real_archive():
    """The path to load: the archive in the folder, or the folder or file itself."""
    archive = REALDATA / "fer2013.zip"
    return archive if archive.is_file() else REALDATA


def _faces():
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (21, 48, 48, 1)) // rng.choice([1, 5, 40], (21, 1, 1, 1))).astype(np.uint8)
    usage = np.array(["Training"] * 14 + ["PublicTest"] * 7)
    return Dataset(images, np.arange(21) % 7, usage, FER_CLASSES)


FACES = _faces()  # two Training images and one PublicTest image of each class; values of one, two and three digits


def text(image):
    return " ".join(map(str, image.ravel().tolist()))


def kaggle_lines(faces):
    return ["emotion,pixels,Usage"] + [
        f"{label},{text(image)},{usage}"
        for image, label, usage in zip(faces.images, faces.labels, faces.usage, strict=True)
    ]


def kaggle(edit=lambda lines: lines, join="\n", end="\n", prefix=b"", name="fer2013.csv"):
    def write(folder, faces):
        path = folder / name
        path.write_bytes(prefix + (join.join(edit(kaggle_lines(faces))) + end).encode())
        return path

    return write


def reorder(template):
    """The same rows with their cells put into another pattern."""
    return lambda lines: [template.format(*line.split(",")) for line in lines]


def course(labels=True, train=True, edit=lambda name, lines: lines):
    def write(folder, faces):
        training, public = faces.split("Training"), faces.split("PublicTest")
        tables = {
            "train.csv": ["label,feature"]
            + [f"{label},{text(image)}" for image, label in zip(training.images, training.labels, strict=True)],
            "test.csv": ["id,feature"] + [f"{i + 100},{text(image)}" for i, image in enumerate(public.images)],
            "test_labels.csv": ["id,label", *[f"{i + 100},{label}" for i, label in enumerate(public.labels)][::-1]],
        }
        for name, lines in tables.items():
            if (labels or name != "test_labels.csv") and (train or name != "train.csv"):
                (folder / name).write_text("\n".join(edit(name, lines)) + "\n")
        return folder

    return write


def encoded(image, mode="L", kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0]).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def named_images(faces, top="", spelling=FER_CLASSES, prefix=True, folders=("train", "test"), suffix="png", **options):
    """{path: bytes} as in the common repackings; without prefix the folders alone tell the split."""
    names = {}
    for i, (image, label, usage) in enumerate(zip(faces.images, faces.labels, faces.usage, strict=True)):
        folder = folders[0] if usage == "Training" else folders[1]
        stem = f"{usage}_{i:08}" if prefix else f"im{i}"
        names[f"{top}{folder}/{spelling[label]}/{stem}.{suffix}"] = encoded(image, **options)
    return names


def images(extra=None, **options):
    def write(folder, faces):
        for name, data in {**named_images(faces, **options), **(extra or {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder

    return write


def zipped(extra=None, name="images.zip", compression=zipfile.ZIP_STORED, separator="/", **options):
    def write(folder, faces):
        with zipfile.ZipFile(folder / name, "w", compression) as archive:
            for entry, data in {**named_images(faces, **options), **(extra or {})}.items():
                archive.writestr(entry.replace("/", separator), data)
        return folder / name

    return write


def npz(save=np.savez, name="fer2013.npz", **changes):
    def write(folder, faces):
        arrays = {"images": faces.images, "labels": faces.labels, "usage": faces.usage, "class_names": FER_CLASSES}
        arrays = {k: v(faces) if callable(v) else v for k, v in {**arrays, **changes}.items()}
        with open(folder / name, "wb") as file:
            save(file, **{k: v for k, v in arrays.items() if v is not None})
        return folder / name

    return write


def same(got, want, ordered=True):
    """Raise unless two data sets hold the same images with the same labels and splits (in any order, if need be)."""
    if not ordered:
        got, want = (
            d.subset(np.array(sorted(range(len(d)), key=lambda i: d.images[i].tobytes()))) for d in (got, want)
        )
    np.testing.assert_array_equal(got.images, want.images)
    np.testing.assert_array_equal(got.labels, want.labels)
    np.testing.assert_array_equal(got.usage, want.usage)
    assert (got.images.dtype, got.labels.dtype, got.class_names) == (np.uint8, np.int64, want.class_names)


def raw(data, name="data.csv"):
    def write(folder, faces):
        (folder / name).write_bytes(data)
        return folder / name

    return write


def truncated(write, keep):
    def cut(folder, faces):
        path = write(folder, faces)
        path.write_bytes(path.read_bytes()[:keep])
        return path

    return cut


def flipped(write, where):
    def damage(folder, faces):
        path = write(folder, faces)
        data = bytearray(path.read_bytes())
        data[where] ^= 255
        path.write_bytes(data)
        return path

    return damage
