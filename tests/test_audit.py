"""What the audit must find, and what it must not see where there is nothing."""

import io
from dataclasses import replace

import numpy as np
import pytest
from fer2013_files import real_archive, realdata
from PIL import Image
from scipy import ndimage

from minicnn.data.dataset import FER_CLASSES, SPLITS, Dataset
from minicnn.data.fer2013 import load_fer2013
from minicnn.data.hygiene import audit, drop_duplicates


def face_like(n, seed):
    """Blobs of several sizes and some noise, of varying brightness and contrast, as light on faces varies."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((3, n, 48, 48))
    x = sum(
        a * ndimage.gaussian_filter(layer, (0, s, s))
        for layer, a, s in zip(noise, (4, 0.75, 0.09), (4, 1.5, 0.6), strict=True)
    )
    brightness, contrast = rng.uniform(60, 190, (n, 1, 1)), rng.uniform(60, 140, (n, 1, 1))
    return (brightness + contrast * x).clip(0, 255).astype(np.uint8)[..., None]


def random_faces(training=600, public=300, seed=0):
    images = face_like(training + public, seed)
    usage = np.array(["Training"] * training + ["PublicTest"] * public)
    return Dataset(images, np.arange(training + public) % 7, usage, FER_CLASSES)


def box_blur(image):
    return ndimage.uniform_filter(image.astype(float), 3).round()


def equalise(image):
    share = np.bincount(image.ravel(), minlength=256).cumsum() / image.size
    return 255 * share[image]


def stretch(image):
    low, high = int(image.min()), int(image.max())
    return (image.astype(float) - low) * 255 / max(high - low, 1)


def resized(down, up):
    return lambda image: np.asarray(Image.fromarray(image).resize((24, 24), down).resize((48, 48), up))


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def processed(data, split, process):
    images = data.images.copy()
    for i in np.flatnonzero(data.usage == split):
        images[i, :, :, 0] = process(images[i, :, :, 0])
    return replace(data, images=images)


R = Image.Resampling
PROCESSES = {  # name: the process, the measure that must tell, what it is said to look like
    "blurred": (box_blur, "sharpness", "blurred or upscaled"),
    "equalised": (equalise, "contrast", "equalised or stretched"),
    "stretched": (stretch, "contrast", "equalised or stretched"),
    "enlarged, bilinear": (resized(R.BOX, R.BILINEAR), "sharpness", "blurred or upscaled"),
    "enlarged, bicubic": (resized(R.NEAREST, R.BICUBIC), "sharpness", "blurred or upscaled"),
    "enlarged, Lanczos": (resized(R.LANCZOS, R.LANCZOS), "sharpness", "blurred or upscaled"),
    "enlarged, nearest": (resized(R.BOX, R.NEAREST), "sharpness", "sharpened or enlarged by repeating pixels"),
    "darkened": (lambda image: image * 0.6, "mean", "darkened"),
}


def assert_found(data, split, name):
    process, measure, words = PROCESSES[name]
    report = audit(processed(data, split, process))
    assert report.processed_differently
    told = [sentence for sentence in report.differences if f": {measure} " in sentence]
    assert len(told) == 1
    assert f"{split} had been {words}" in told[0] or f"or {split} {words}" in told[0]
    assert told[0] in str(report)
    assert told[0] in report.summary


@pytest.mark.parametrize("split", ["Training", "PublicTest"])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_split_that_was_processed_differently_is_seen(name, split):
    assert_found(random_faces(), split, name)


@pytest.mark.parametrize(("training", "public"), [(40, 10), (20, 20), (10, 40)])
def test_a_small_blurred_split_is_seen(training, public):
    assert_found(random_faces(training, public), "PublicTest", "blurred")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("training", "public"), [(600, 300), (600, 30), (40, 10), (60, 1), (8, 2), (3, 1)])
def test_splits_that_were_not_are_left_in_peace(training, public, seed):
    report = audit(random_faces(training, public, seed))
    assert report.differences == ()
    assert not report.processed_differently
    assert "splits processed alike" in report.summary


def test_every_split_processed_alike_is_no_difference():
    data = random_faces()
    for split in ("Training", "PublicTest"):
        data = processed(data, split, box_blur)
    assert audit(data).differences == ()


def test_the_measures_of_known_images():
    rng = np.random.default_rng(0)
    images = np.empty((40, 48, 48, 1), np.uint8)
    images[:20] = rng.normal(120, 20, (20, 48, 48, 1)).round().clip(0, 255)
    images[20:] = 10 + 4 * np.arange(48)[:, None, None]
    data = Dataset(images, np.zeros(40, np.int64), np.array(["noise"] * 20 + ["ramp"] * 20), FER_CLASSES)
    noise, ramp = (audit(data).splits[name] for name in ("noise", "ramp"))
    np.testing.assert_allclose((noise.mean, noise.contrast, noise.sharpness), (120, 20, 10**0.5), rtol=0.02)
    np.testing.assert_allclose((ramp.mean, ramp.contrast, ramp.sharpness), (104, 4 * ((48**2 - 1) / 12) ** 0.5, 0))
    assert (noise.images, ramp.images) == (20, 20)
    each = images[:20].mean((1, 2, 3))
    np.testing.assert_allclose(noise.deviations[0], each.std())


def copies():
    """10 images; 0 and 1 are equal, so are 2, 6 and 9, and 3 and 7, 8 is blank."""
    data = random_faces(10, 0)
    images = data.images.copy()
    images[1], images[6], images[9], images[7], images[8] = images[0], images[2], images[2], images[3], 77
    labels = np.array([0, 0, 2, 3, 4, 5, 1, -1, 1, 2])
    usage = np.array(SPLITS)[[0, 0, 0, 0, 0, 0, 1, 1, 1, 2]]
    return Dataset(images, labels, usage, FER_CLASSES)


def test_copies():
    report = audit(copies())
    assert (report.duplicate_images, report.duplicate_groups) == (7, 3)
    assert report.groups_across_splits == 2
    assert report.conflicting_groups == 1  # 2, 6 and 9; an unlabelled copy contradicts nothing
    assert report.in_training == {"PublicTest": 2, "PrivateTest": 1}
    assert report.blank_images == 1
    assert report.summary.startswith(
        "audit: 7 of 10 images in 3 groups of exact copies (2 across splits, 2 of PublicTest in Training, "
        "1 of PrivateTest in Training), 1 groups with different labels, 1 blank; "
    )
    assert "\n" not in report.summary
    assert "    2 images of PublicTest stand in Training too\n" in str(report)
    assert "Training           6 " in str(report)


def test_training_copies_are_dropped():
    data = replace(copies(), notes=("before",))
    kept = drop_duplicates(data)
    rest = [0, 1, 4, 5, 6, 7, 8, 9]  # copies within Training stay
    np.testing.assert_array_equal(kept.images, data.images[rest])
    np.testing.assert_array_equal(kept.labels, data.labels[rest])
    assert kept.usage.tolist() == data.usage[rest].tolist()
    assert kept.notes == ("before", "2 Training images left out that are exact copies of images of other splits")
    assert audit(kept).in_training == {"PublicTest": 0, "PrivateTest": 0}


@pytest.mark.parametrize(
    ("which", "in_training"),
    [(slice(0, 0), {}), (slice(6, 9), {}), (slice(8, 9), {}), (slice(0, 6), {}), (slice(7, 8), {})],
    ids=["nothing", "no Training", "one blank image", "Training alone", "one unlabelled image"],
)
def test_what_there_is_little_of(which, in_training):
    part = copies().subset(np.arange(10)[which])
    report = audit(part)
    assert report.in_training == in_training
    assert report.differences == ()
    assert len(drop_duplicates(part)) == len(part)
    assert str(report)
    assert report.summary


def test_a_blank_split_beside_another():
    data = processed(random_faces(20, 10), "Training", lambda image: 0 * image)
    assert any("contrast 0 against" in s or "against 0," in s for s in audit(data).differences)


def test_strided_images_are_copies_too():
    data = copies()
    strided = replace(data, images=np.repeat(data.images, 2, axis=2)[:, :, ::2])
    assert audit(strided) == audit(data)


def test_images_too_small_to_measure():
    tiny = Dataset(np.zeros((2, 2, 5, 1), np.uint8), np.zeros(2, np.int64), np.array(["a", "b"]), FER_CLASSES)
    with pytest.raises(ValueError, match=r"audit: images have shape \(2, 5, 1\), wanted at least 3 x 3 pixels"):
        audit(tiny)


@pytest.fixture(scope="module")
def data():
    return load_fer2013(real_archive(), cache=False)


@realdata
class TestRealData:
    def test_known_truths(self, data):
        report = audit(data)
        assert report.in_training == {"PublicTest": 280}
        assert (report.duplicate_images, report.duplicate_groups) == (2805, 1273)
        assert (report.groups_across_splits, report.conflicting_groups, report.blank_images) == (270, 47, 12)
        assert report.differences == ()
        training = report.splits["Training"]
        np.testing.assert_allclose(
            (training.mean, training.contrast, training.sharpness), (129.47, 54.0, 2.137), rtol=1e-3
        )

    def test_dropping_copies(self, data):
        kept = drop_duplicates(data)
        assert kept.split_counts() == {"Training": 28709 - 351, "PublicTest": 3589}
        assert kept.notes[-1].startswith("351 Training images left out")
        assert audit(kept).groups_across_splits == 0

    @pytest.mark.parametrize("name", PROCESSES)
    def test_a_processed_split_is_seen(self, data, name):
        assert_found(data.subset(np.arange(0, len(data), 4)), "PublicTest", name)

    def test_recompressing_and_choosing_a_class_are_no_processing(self, data):
        some = data.subset(np.arange(0, len(data), 4))
        assert audit(processed(some, "PublicTest", jpeg)).differences == ()
        for label in range(7):
            assert audit(some.subset((some.usage == "Training") | (some.labels == label))).differences == ()
