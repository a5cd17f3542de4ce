"""Augmentation: what changes, what must not, and that the Generator decides all of it."""

import numpy as np
import pytest

from minicnn.data.augment import Compose, RandomHorizontalFlip, Transform


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


TRANSFORMS = [RandomHorizontalFlip(), Compose(RandomHorizontalFlip(0.3), RandomHorizontalFlip(0.8)), Compose()]


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


@pytest.mark.parametrize("t", TRANSFORMS, ids=repr)
def test_a_transform_takes_no_images_at_all(t):
    x, y = t(np.zeros((0, 4, 5, 1), np.float32), np.zeros(0, np.int64), rng=rng())
    assert (x.shape, y.shape) == ((0, 4, 5, 1), (0,))


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
