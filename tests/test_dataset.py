"""`Dataset`: what it refuses, its subsets and splits, and how it prints."""

from dataclasses import replace

import numpy as np
import pytest
from fer2013_files import FACES, same

from minicnn.data.dataset import Dataset


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(images=np.zeros((2, 3, 3, 1))), TypeError, "images is float64, wanted a NumPy array of uint8"),
        (
            dict(images=np.zeros((2, 3, 3), np.uint8)),
            ValueError,
            r"images has shape \(2, 3, 3\), wanted \(N, H, W, C\)",
        ),
        (dict(labels=np.zeros(2, np.int32)), TypeError, "labels is int32, wanted a NumPy array of int64"),
        (dict(labels=[0, 1]), TypeError, "labels is list, wanted a NumPy array of int64"),
        (
            dict(labels=np.zeros((2, 1), np.int64)),
            ValueError,
            r"labels has shape \(2, 1\), wanted \(2,\): one for each",
        ),
        (dict(labels=np.array([0, 2])), ValueError, r"label 2 of image 1 is no index into 2 class names \(nor -1"),
        (dict(labels=np.array([-2, 0])), ValueError, "label -2 of image 0 is no index"),
        (dict(usage=np.array([b"a", b"b"])), TypeError, r"usage is \|S1, wanted a NumPy array of str"),
        (dict(usage=np.array(["a"])), ValueError, r"usage has shape \(1,\), wanted \(2,\)"),
        (dict(ids=np.array(["a"])), ValueError, r"ids has shape \(1,\), wanted \(2,\)"),
        (dict(ids=np.array([4, 5])), TypeError, "ids is int64, wanted a NumPy array of str"),
    ],
)
def test_a_dataset_that_does_not_fit(change, error, message):
    fits = Dataset(np.zeros((2, 3, 3, 1), np.uint8), np.array([0, -1]), np.array(["a", "b"]), ["cat", "dog"])
    assert fits.class_names == ("cat", "dog")
    with pytest.raises(error, match=message):
        replace(fits, **change)


def test_subsets():
    noted = replace(FACES, notes=("kept",))
    by_mask, by_index = noted.subset(noted.labels == 2), noted.subset(np.array([2, 9, 16]))
    same(by_mask, by_index)
    assert by_mask.notes == ("kept",)
    assert (len(by_mask), by_mask.labels.tolist(), by_mask.usage.tolist()) == (
        3,
        [2] * 3,
        ["Training"] * 2 + ["PublicTest"],
    )
    assert len(noted.subset([])) == 0
    with pytest.raises(ValueError, match="a mask of 3 values for 21 images"):
        noted.subset(np.array([True, False, True]))
    with pytest.raises(TypeError, match=r"got float64 \(1,\), wanted 1-D integers or booleans"):
        noted.subset([1.5])


def test_ids_stay_with_their_images():
    named = replace(FACES, ids=np.array([f"face {k}" for k in range(21)]))
    assert named.subset(named.labels == 2).ids.tolist() == ["face 2", "face 9", "face 16"]
    assert named.split("PublicTest").ids[0] == "face 14"
    assert FACES.subset([1]).ids is None


def test_splits_and_what_is_printed():
    assert repr(FACES) == "<Dataset 21 images 48 x 48 x 1: Training 14, PublicTest 7; 7 classes>"
    assert FACES.split_counts() == {"Training": 14, "PublicTest": 7}
    same(FACES.split("PublicTest"), FACES.subset(np.arange(14, 21)))
    with pytest.raises(ValueError, match="no split 'Test' here; there is Training, PublicTest"):
        FACES.split("Test")
    with pytest.raises(ValueError, match="no split 'Training' here; there is no image at all"):
        FACES.subset([]).split("Training")
