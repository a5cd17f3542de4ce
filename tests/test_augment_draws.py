"""What augmentation draws, and what erasing and mixup make of it."""

import numpy as np
import pytest

from minicnn.data.augment import Mixup, RandomCrop, RandomErasing, RandomRotation, RandomShift, RandomZoom


def rng(seed=0):
    return np.random.default_rng(seed)


def affine(t, n=2000, size=(40, 20)):
    """The matrices that t draws."""
    A = t.matrices(n, size, rng())
    assert (A[:, 2] == [0, 0, 1]).all()
    return A


def test_rotation_draws_angles_uniformly_and_keeps_the_centre():
    A = affine(RandomRotation((-10, 30)))
    degrees = np.rad2deg(np.arctan2(A[:, 0, 1], A[:, 0, 0]))
    assert -10 <= degrees.min() < -9.9
    assert 29.9 < degrees.max() <= 30
    assert abs(degrees.mean() - 10) < 4 * 40 / np.sqrt(12 * 2000)
    np.testing.assert_allclose(A @ [19.5, 9.5, 1], np.tile([19.5, 9.5, 1], (2000, 1)))
    np.testing.assert_allclose(np.linalg.det(A), 1)


def test_shift_draws_parts_of_height_and_width_apart():
    moved = -affine(RandomShift((0.1, 0.5)))[:, :2, 2]
    for part, limit in zip(moved.T, (4, 10), strict=True):
        assert -limit <= part.min() < -0.99 * limit
        assert 0.99 * limit < part.max() <= limit
        assert abs(part.mean()) < 4 * 2 * limit / np.sqrt(12 * 2000)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 4 / np.sqrt(2000)


def test_shift_moves_the_picture_down_and_right():
    class Always(np.random.Generator):
        def uniform(self, low, high, size):
            return np.full(size, high)

    x = np.arange(160.0).reshape(4, 4, 5, 2).astype("float32")
    y = RandomShift((0.5, 0.2), "constant", -1)(x, rng=Always(np.random.PCG64(0)))
    np.testing.assert_array_equal(y[:, 2:, 1:], x[:, :2, :-1])
    assert (y[:, :2] == -1).all()
    assert (y[:, :, :1] == -1).all()


def test_zoom_draws_one_factor_for_both_axes_and_keeps_the_centre():
    A = affine(RandomZoom(0.5, 2))
    factor = 1 / A[:, 0, 0]
    assert 0.5 <= factor.min() < 0.51
    assert 1.99 < factor.max() <= 2
    assert abs(factor.mean() - 1.25) < 4 * 1.5 / np.sqrt(12 * 2000)
    np.testing.assert_array_equal(A[:, 0, 0], A[:, 1, 1])
    np.testing.assert_allclose(A @ [19.5, 9.5, 1], np.tile([19.5, 9.5, 1], (2000, 1)))


@pytest.mark.parametrize(("size", "padding"), [((2, 3), 0), (4, 0), (None, 1), ((5, 2), 1)])
def test_crop_takes_every_part_of_the_padded_image_as_often(size, padding):
    x = np.arange(1.0, 21).reshape(1, 4, 5, 1).astype("float32").repeat(600, 0)
    got = RandomCrop(size, padding)(x, rng=rng())
    OH, OW = {None: (4, 5), 4: (4, 4)}.get(size, size)
    padded = np.pad(x[0, ..., 0], padding)
    parts = [p.tobytes() for row in np.lib.stride_tricks.sliding_window_view(padded, (OH, OW)) for p in row]
    seen = [y.tobytes() for y in got]
    assert got.shape == (600, OH, OW, 1)
    assert set(seen) == set(parts)
    most = max(map(seen.count, parts))
    assert most < 600 / len(parts) + 5 * np.sqrt(600 / len(parts))


def erased(t, H=30, W=60, n=500):
    """(shares of the erased rectangles, their aspects, how many images have one), each checked to be a rectangle."""
    y = t(np.ones((n, H, W, 2), "float32"), rng=rng())[..., 0] == 0
    whole = ~y.any(axis=(1, 2))
    height, width = (y.any(axis=axis).sum(axis=1)[~whole] for axis in (2, 1))
    np.testing.assert_array_equal(y.sum(axis=(1, 2))[~whole], height * width)
    return height * width / (H * W), height / width, n - whole.sum()


def test_erasing_draws_shares_and_aspects_within_their_ranges():
    share, aspect, n = erased(RandomErasing(1, area=(0.1, 0.2), aspect=(0.5, 2)))
    assert n == 500
    assert 0.09 < share.min() < 0.105
    assert 0.195 < share.max() < 0.215
    assert abs(share.mean() - 0.15) < 0.005
    assert 0.45 < aspect.min() < 0.55
    assert 1.8 < aspect.max() < 2.2
    assert abs(np.log(aspect).mean()) < 0.08  # tall as often as wide


@pytest.mark.parametrize(("p", "low", "high"), [(0, 0, 0), (0.3, 110, 190), (1, 500, 500)])
def test_erasing_comes_with_probability_p(p, low, high):
    assert low <= erased(RandomErasing(p))[2] <= high


def test_erasing_leaves_an_image_whole_in_which_nothing_fits():
    assert erased(RandomErasing(1, area=(0.9, 0.9), aspect=(9, 9)), 30, 30)[2] == 0


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_erasing_paints(dtype):
    x = np.random.default_rng(1).integers(0, 256, (40, 12, 12, 3)).astype(dtype)
    for value in (3.2, "mean", "random"):
        y = RandomErasing(1, (0.2, 0.3), value=value)(x, rng=rng())
        painted = y[(y != x).any(axis=3)]
        if value == "mean":
            mean = x.mean(axis=(1, 2), dtype="float64")
            want = np.floor(mean + 0.5) if dtype == "uint8" else mean.astype(dtype)
            assert {*map(tuple, painted.tolist())} == {*map(tuple, want.tolist())}
        elif value == "random":
            top = 255 if dtype == "uint8" else 1
            assert (painted >= 0).all()
            assert (painted <= top).all()
            assert abs(painted.mean() / top - 0.5) < 0.02
        else:
            assert (painted == (3 if dtype == "uint8" else np.float32(3.2))).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("given", ["integers", "probabilities"])
def test_mixup_blends_labels_as_it_blends_images(dtype, given):
    n = 50
    x = np.full((n, 2, 3, 1), 1, dtype) * np.arange(n, dtype=dtype)[:, None, None, None]
    y = np.arange(n) if given == "integers" else np.eye(n)
    mixed, p = Mixup(1, n if given == "integers" else None)(x, y, rng=rng())
    assert (mixed.dtype, p.dtype, p.shape) == (x.dtype, "float32" if given == "integers" else "float64", (n, n))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert ((p > 0).sum(axis=1) <= 2).all()
    assert ((p > 0).sum(axis=0) <= 2).all()  # each takes part as itself and as another's partner
    np.testing.assert_allclose(
        mixed, (p @ np.arange(n))[:, None, None, None] + 0 * x, atol=0.5 if dtype == "uint8" else 1e-5
    )


@pytest.mark.parametrize(("alpha", "low", "high"), [(1, 0.47, 0.53), (0.01, 0, 0.03)])
def test_mixup_draws_from_beta(alpha, low, high):
    x = np.eye(2, dtype="float32")[np.arange(4000) % 2]
    p = Mixup(alpha)(x[:, :, None, None], x, rng=rng())[1]
    mixed = p[(p > 0).all(axis=1)] if alpha == 1 else p
    assert low <= 2 * mixed.min(axis=1).mean() <= high  # of a uniform number and its rest, the smaller is 1/4
