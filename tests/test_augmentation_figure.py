"""The picture of augmented images: every pixel of it is one of theirs, at its place."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from minicnn.data.augment import Mixup, RandomCrop, RandomErasing, RandomHorizontalFlip
from minicnn.explain import figures

TRANSFORMS = {"flipped": RandomHorizontalFlip(1), "cropped": RandomCrop((8, 10)), "$mixed": Mixup(1, num_classes=3)}


def images(C=1, dtype="uint8"):
    x = np.random.default_rng(0).integers(0, 256, (3, 12, 16, C), "uint8")
    return x if dtype == "uint8" else (x / 255).astype(dtype)


def montage(figure):
    (axis,) = figure.axes
    return axis.images[0].get_array()


@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rows_show_the_images_and_what_becomes_of_them(C, dtype):
    x = images(C, dtype)
    figure = figures.augmentation(x, TRANSFORMS, seed=4)
    picture, (axis,) = montage(figure), figure.axes
    assert picture.shape == (4 * 12 + 3 * 2, 3 * 16 + 2 * 2, 3)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["as they are", *TRANSFORMS]
    shown = images(C, "float64")
    for n in range(3):
        left = n * 18
        np.testing.assert_allclose(picture[:12, left : left + 16], np.broadcast_to(shown[n], (12, 16, 3)), atol=1e-6)
        np.testing.assert_array_equal(picture[14:26, left : left + 16], picture[:12, left : left + 16][:, ::-1])
        cropped = picture[28:40, left : left + 16]
        assert (cropped[[0, 1, -2, -1]] == 1).all()  # the smaller image is in the middle, on white
        assert (cropped[:, [0, 1, 2, -3, -2, -1]] == 1).all()
        places = [shown[n, r : r + 8, c : c + 10] for r in range(5) for c in range(7)]
        assert any(np.allclose(cropped[2:-2, 3:-3], place, atol=1e-6) for place in places)


def test_equal_figures_are_equal_bytes_and_sharp():
    x = np.random.default_rng(0).integers(0, 2, (2, 48, 48, 1), "uint8") * 255
    rows = {"erased": RandomErasing(1, value="random")}
    first, second = (figures.png(figures.augmentation(x, rows, seed=1)) for _ in range(2))
    assert first == second
    assert first != figures.png(figures.augmentation(x, rows, seed=2))
    drawn = np.asarray(Image.open(BytesIO(first)).convert("L"))
    face = drawn[:96, -96 - 4 - 96 : -96 - 4]  # the first image, each pixel two by two dots
    assert (np.abs(face.astype(int) - x[0, :, :, 0].repeat(2, 0).repeat(2, 1)) < 3).mean() > 0.97


@pytest.mark.parametrize("shape", [(3, 12, 16), (3, 12, 16, 2), (0, 12, 16, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"augmentation: images have shape .*, wanted \(N, H, W, 1\) or \(N, H, W, 3\)"
    ):
        figures.augmentation(np.zeros(shape), {})
