"""Augmentation: what changes, what must not, and that the Generator decides all of it."""

import contextlib

import numpy as np
import pytest

from minicnn import data, dispatch
from minicnn.data.augment import (
    Compose,
    Mixup,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
    RandomZoom,
    Transform,
    course,
    strong,
)


def batch(n=6, dtype="float32"):
    """n images that differ from their mirror images, not to be written to, and their labels."""
    x = np.arange(n * 4 * 5 * 2).reshape(n, 4, 5, 2).astype(dtype)
    x.flags.writeable = False
    return x, np.arange(n)


def rng(seed=0):
    return np.random.default_rng(seed)


def add_one(x, y=None, *, rng):
    return x + 1 if y is None else (x + 1, y)


def double(x, y=None, *, rng):
    return 2 * x if y is None else (2 * x, y)


TRANSFORMS = [
    RandomHorizontalFlip(),
    RandomRotation(40),
    RandomRotation((10, 20), "constant", 7),
    RandomShift((0.2, 0), "reflect"),
    RandomZoom(0.8, 1.2, "wrap"),
    RandomCrop(padding=2),
    RandomErasing(1),
    RandomErasing(value="mean"),
    RandomErasing(value="random"),
    Compose(RandomHorizontalFlip(0.3), RandomHorizontalFlip(0.8)),
    Compose(),
    course(),
    strong(),
]


@pytest.mark.parametrize("t", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_a_transform_keeps_shape_dtype_and_its_input_and_is_decided_by_the_generator(t, dtype):
    x, y = batch(dtype=dtype)
    before = x.copy()
    got, labels = t(x, y, rng=rng())
    assert (got.shape, got.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(t(x, y, rng=rng())[0], got)
    np.testing.assert_array_equal(t(x, rng=rng()), got)  # without labels: the same images, alone
    if "Compose()" != repr(t):
        assert not np.array_equal(t(x, y, rng=rng(1))[0], got)


@pytest.mark.parametrize("t", TRANSFORMS, ids=repr)
def test_a_transform_takes_no_images_at_all(t):
    x, y = t(np.zeros((0, 4, 5, 1), np.float32), np.zeros(0, np.int64), rng=rng())
    assert (x.shape, y.shape) == ((0, 4, 5, 1), (0,))


@pytest.mark.parametrize("t", [*TRANSFORMS, Mixup(num_classes=6), RandomCrop(3)], ids=repr)
def test_definitions_run_on_a_device(t):
    pytest.importorskip("cupy", reason="the stand-in takes its names and signatures from CuPy")
    import strictcupy

    x, y = batch()
    with strictcupy.installed() as xp:
        waits = isinstance(t, Mixup)  # looks whether its classes are in 0..K-1
        with contextlib.nullcontext() if waits else strictcupy.no_sync():
            device = t(xp.asarray(x), xp.asarray(y), rng=rng())
    with dispatch.using("reference"):
        for got, want in zip(device, t(x, y, rng=rng()), strict=True):
            np.testing.assert_allclose(got.get(), want, rtol=1e-6)
            assert got.dtype == want.dtype


@pytest.mark.parametrize("t", TRANSFORMS, ids=repr)
def test_repr_is_what_makes_the_transform_again(t):
    assert repr(eval(repr(t))) == repr(t)


def test_flip_mirrors_each_image_for_itself_with_probability_p():
    x, y = batch(1000)
    got, _ = RandomHorizontalFlip(0.25)(x, y, rng=rng())
    same = (got == x).all(axis=(1, 2, 3))
    mirrored = (got == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()  # one or the other, never both, never a flip of height or channels
    assert 200 < mirrored.sum() < 300  # 3.7 standard deviations


@pytest.mark.parametrize(("p", "step"), [(0, 1), (1, -1)])
def test_flip_never_and_always(p, step):
    x, y = batch()
    np.testing.assert_array_equal(RandomHorizontalFlip(p)(x, y, rng=rng())[0], x[:, :, ::step])


@pytest.mark.parametrize("composed", [Compose(add_one, double), Compose([add_one, double]), Compose((add_one, double))])
def test_compose_applies_in_order(composed):
    x, y = batch()
    np.testing.assert_array_equal(composed(x, y, rng=rng())[0], 2 * (x + 1))
    np.testing.assert_array_equal(composed(x, rng=rng()), 2 * (x + 1))


def test_compose_hands_one_generator_from_transform_to_transform():
    x, y = batch(64)
    flip, shared = RandomHorizontalFlip(), rng()
    want, _ = flip(*flip(x, y, rng=shared), rng=shared)
    got, _ = Compose(flip, flip)(x, y, rng=rng())
    np.testing.assert_array_equal(got, want)
    assert not np.array_equal(got, x)  # with the same draws twice, the second flip would undo the first


def test_compose_lets_a_transform_change_the_labels():
    def one_hot(x, y, *, rng):
        return x, np.eye(6)[y]

    x, y = batch()
    np.testing.assert_array_equal(Compose([one_hot])(x, y, rng=rng())[1], np.eye(6))


def test_repr_says_the_parameters():
    assert repr(Compose(RandomHorizontalFlip(0.25), Compose())) == "Compose(RandomHorizontalFlip(p=0.25), Compose())"


def test_a_transform_without_apply_cannot_be_made():
    class Nothing(Transform):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing()


@pytest.mark.parametrize("augment", [course(), strong(), strong(0.4, 7)], ids=repr)
def test_a_loader_gives_the_same_batches_with_and_without_its_thread(augment):
    x = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 1), "uint8")
    alone, beside = (
        list(data.Loader((x, np.arange(20) % 7), 8, shuffle=True, augment=augment, seed=3, prefetch=k)) for k in (0, 2)
    )
    for (x1, y1), (x2, y2) in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(x1, x2)
        np.testing.assert_array_equal(y1, y2)
        assert x1.dtype == "float32"


def test_the_recipes_are_what_they_say():
    assert repr(course("wrap")) == repr(Compose(RandomRotation(40, "wrap"), RandomShift(0.2, "wrap")))
    names = [type(t).__name__ for t in strong(0.2, 7).transforms]
    assert names == ["RandomHorizontalFlip", "RandomRotation", "RandomShift", "RandomZoom", "RandomErasing", "Mixup"]
    assert len(strong().transforms) == 5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: RandomHorizontalFlip(1.5),
            ValueError,
            r"RandomHorizontalFlip: p is 1\.5, wanted a number from 0 to 1",
        ),
        (lambda: RandomHorizontalFlip(-0.1), ValueError, r"p is -0\.1, wanted"),
        (lambda: RandomHorizontalFlip(float("nan")), ValueError, "p is nan, wanted"),
        (lambda: RandomHorizontalFlip("half"), TypeError, "p is 'half', wanted a number"),
        (lambda: RandomHorizontalFlip(True), TypeError, "p is True, wanted a number"),
        (
            lambda: RandomRotation(-1),
            ValueError,
            r"RandomRotation: degrees is -1, wanted a number of at least 0, or \(",
        ),
        (lambda: RandomRotation((20, 10)), ValueError, r"RandomRotation: degrees is \(20, 10\), wanted"),
        (lambda: RandomRotation((1, 2, 3)), ValueError, r"degrees is \(1, 2, 3\), wanted"),
        (lambda: RandomRotation("40"), TypeError, "degrees is '40', wanted"),
        (lambda: RandomRotation(float("inf")), ValueError, "degrees is inf, wanted"),
        (
            lambda: RandomRotation(40, "mirror"),
            ValueError,
            "RandomRotation: fill_mode is 'mirror', wanted one of constant, nearest, reflect, wrap",
        ),
        (lambda: RandomRotation(40, "constant", "0"), TypeError, "fill_value is '0', wanted a finite number"),
        (
            lambda: RandomShift(-0.2),
            ValueError,
            r"RandomShift: fraction is -0\.2, wanted one or two numbers of at least 0",
        ),
        (lambda: RandomShift((0.2, 0.2, 0)), ValueError, r"RandomShift: fraction is \(0\.2, 0\.2, 0\), wanted"),
        (lambda: RandomZoom(0, 1), ValueError, r"RandomZoom: \(low, high\) is 0, wanted 0 < low <= high"),
        (lambda: RandomZoom(1.2, 0.8), ValueError, r"RandomZoom: \(low, high\) is \(1\.2, 0\.8\), wanted 0 < low"),
        (lambda: RandomCrop(), ValueError, "RandomCrop: size is None and padding 0, wanted at least one of them"),
        (lambda: RandomCrop(0), ValueError, "RandomCrop: size is 0, wanted whole numbers of at least 1"),
        (
            lambda: RandomCrop((3, 4, 5)),
            ValueError,
            r"RandomCrop: size is \(3, 4, 5\), wanted one or two whole numbers",
        ),
        (lambda: RandomCrop(2.5), TypeError, r"RandomCrop: size is 2\.5, wanted whole numbers"),
        (lambda: RandomCrop(padding=-1), ValueError, "RandomCrop: padding is -1, wanted whole numbers of at least 0"),
        (
            lambda: RandomCrop(8, 1)(*batch(), rng=rng()),
            ValueError,
            r"RandomCrop: images are \(4, 5\) with a margin of 1, wanted \(8, 8\)",
        ),
        (lambda: RandomErasing(2), ValueError, "RandomErasing: p is 2, wanted a number from 0 to 1"),
        (
            lambda: RandomErasing(area=(0.4, 0.2)),
            ValueError,
            r"area is \(0\.4, 0\.2\), wanted \(low, high\) from 0 to 1",
        ),
        (lambda: RandomErasing(area=(0.1, 1.2)), ValueError, r"area is 1\.2, wanted \(low, high\) from 0 to 1"),
        (lambda: RandomErasing(area=0.3), TypeError, r"area is 0\.3, wanted \(low, high\) from 0 to 1"),
        (lambda: RandomErasing(aspect=(0, 1)), ValueError, r"aspect is 0, wanted \(low, high\) above 0"),
        (lambda: RandomErasing(value="noise"), TypeError, "value is 'noise', wanted a number, 'mean' or 'random'"),
        (lambda: Mixup(0), ValueError, "Mixup: alpha is 0, wanted a number above 0"),
        (lambda: Mixup(1, 0), ValueError, "Mixup: num_classes is 0, wanted a whole number of at least 1"),
        (lambda: Mixup(1, 2.5), ValueError, r"Mixup: num_classes is 2\.5, wanted a whole number of at least 1"),
        (lambda: Mixup()(batch()[0], rng=rng()), ValueError, "Mixup: images came without labels, wanted both"),
        (lambda: Mixup()(*batch(), rng=rng()), ValueError, "Mixup: num_classes is None and y integers, wanted"),
        (lambda: Mixup(1, 3)(*batch(), rng=rng()), ValueError, r"Mixup: y goes from 0 to 5, wanted classes in 0\.\.2"),
        (
            lambda: Mixup(1, 3)(batch()[0], np.ones((6, 2)), rng=rng()),
            ValueError,
            r"Mixup: y is float64 of shape \(6, 2\), wanted probabilities \(N, 3\)",
        ),
        (
            lambda: Mixup(1, 3)(batch()[0], np.ones((6, 2), int), rng=rng()),
            ValueError,
            r"Mixup: y is int64 of shape \(6, 2\), wanted integers \(N,\) or probabilities \(N, K\)",
        ),
        (lambda: Compose(add_one, 3), TypeError, r"Compose: transform 1 is 3, wanted a callable"),
        (lambda: Compose([None]), TypeError, r"Compose: transform 0 is None, wanted a callable"),
        (
            lambda: RandomHorizontalFlip()(np.zeros((2, 4, 5)), rng=rng()),
            ValueError,
            r"RandomHorizontalFlip: x has shape \(2, 4, 5\), wanted images \(N, H, W, C\)",
        ),
        (
            lambda: Compose()(batch(6)[0], np.zeros(5), rng=rng()),
            ValueError,
            "Compose: 6 images came with 5 labels, wanted one for each",
        ),
        (lambda: Compose()(*batch(), rng=0), TypeError, r"Compose: rng is int, wanted a numpy\.random\.Generator"),
    ],
)
def test_error_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()
