"""Resampling along affine maps: against SciPy, exact where it can be, and the kernel against the definition."""

import numpy as np
import pytest
from scipy import ndimage

from minicnn import dispatch, simd
from minicnn.data.augment.geometric import RandomRotation
from minicnn.data.augment.warp import FILL_MODES, warp
from minicnn.simd.gather import floor, gather

SCIPY = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}
SHAPES = [(3, 5, 7, 1), (2, 8, 13, 3), (1, 48, 48, 1), (4, 1, 6, 2), (2, 17, 1, 1), (5, 1, 1, 3)]
BOTH = pytest.mark.parametrize("mode", ["reference", "strict"])  # the definition, the kernel
every_fill = pytest.mark.parametrize("fill_mode", FILL_MODES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def images(shape, dtype="float64", seed=0):
    """Not to be written to."""
    x = np.random.default_rng(seed).random(shape)
    x = np.rint(255 * x).astype(dtype) if dtype == "uint8" else x.astype(dtype)
    x.flags.writeable = False
    return x


def maps(shape, seed=1):
    """Maps that turn, stretch, mirror, and leave the image far behind on every side."""
    return np.random.default_rng(seed).normal(size=(shape[0], 2, 3)) * [1, 1, 10]


def shift(n, rows, columns):
    return np.tile(np.array([[1, 0, rows], [0, 1, columns]], "float64"), (n, 1, 1))


def by_scipy(x, matrices, mode, value, size):
    y = np.empty((len(x), *size, x.shape[3]))
    for n, A in enumerate(matrices):
        for c in range(x.shape[3]):
            y[n, ..., c] = ndimage.affine_transform(x[n, ..., c], A[:, :2], A[:, 2], size, None, 1, mode, value)
    return y


@every_fill
@every_shape
@pytest.mark.parametrize("grown", [(0, 0), (3, -2)])
def test_the_definition_is_what_scipy_computes(fill_mode, shape, grown):
    x, matrices = images(shape), maps(shape)
    size = tuple(max(s + g, 1) for s, g in zip(shape[1:3], grown, strict=True))
    want = by_scipy(x, matrices, SCIPY[fill_mode], 0.3, size)
    np.testing.assert_allclose(warp(x, matrices, fill_mode=fill_mode, fill_value=0.3, size=size), want, atol=1e-12)
    single = warp(x.astype("float32"), matrices, fill_mode=fill_mode, fill_value=0.3, size=size)
    np.testing.assert_allclose(single, want, atol=3e-5)  # places around 50 are known to 4e-6, pixels differ by up to 1


@pytest.mark.parametrize(("fill_mode", "by_name", "place", "ours", "theirs"), [
    ("constant", "constant", -0.5, 0.5 * 9 + 0.5 * 1, 9),  # SciPy's does not blend at the edge
    ("wrap", "wrap", 3, 1, 2),  # SciPy's has period 2: of 1, 2, 3 the first and last are one
])  # fmt: skip
def test_where_scipy_means_something_else_by_the_same_name(fill_mode, by_name, place, ours, theirs):
    x, A = np.array([1.0, 2, 3]).reshape(1, 1, 3, 1), shift(1, 0, place)
    assert warp(x, A, fill_mode=fill_mode, fill_value=9, size=(1, 1)).item() == ours
    assert by_scipy(x, A, by_name, 9, (1, 1)).item() == theirs


@every_fill
@every_shape
def test_kernel_of_float32(fill_mode, shape):
    x, matrices = images(shape, "float32"), maps(shape)
    with dispatch.using("strict"):
        got = warp(x, matrices, fill_mode=fill_mode, fill_value=0.3)
    want = warp.definition(x, matrices, fill_mode=fill_mode, fill_value=0.3)
    assert got.dtype == want.dtype == "float32"
    np.testing.assert_allclose(got, want, atol=1e-6, rtol=0)


@every_fill
@every_shape
def test_kernel_of_uint8(fill_mode, shape):
    x, matrices = images(shape, "uint8"), maps(shape)
    with dispatch.using("strict"):
        got = warp(x, matrices, fill_mode=fill_mode, fill_value=40)
    want = warp.definition(x, matrices, fill_mode=fill_mode, fill_value=40)
    assert got.dtype == want.dtype == "uint8"
    apart = np.abs(got.astype(int) - want)
    assert apart.max() <= 1  # where the last bit of a float32 decides on which side of a half it is
    assert apart.sum() <= 0.001 * apart.size


@BOTH
@pytest.mark.parametrize(("pixels", "want"), [([0, 1], 1), ([2, 3], 3), ([254, 255], 255), ([7, 7], 7), ([0, 3], 2)])
def test_uint8_is_rounded_halves_upwards(mode, pixels, want):
    x = np.array(pixels, "uint8").reshape(1, 1, 2, 1)
    with dispatch.using(mode):
        assert warp(x, shift(1, 0, 0.5), size=(1, 1)).item() == want


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@every_fill
@every_shape
def test_the_identity_keeps_every_bit(mode, dtype, fill_mode, shape):
    x = images(shape, dtype)
    with dispatch.using(mode):
        y = warp(x, shift(len(x), 0, 0), fill_mode=fill_mode)
    assert y.tobytes() == x.tobytes()
    assert not np.shares_memory(y, x)


@BOTH
@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (-2, 3), (0, -7), (30, 0), (-9, -20)])
def test_whole_pixels_move_exactly(mode, rows, columns):
    x = images((3, 5, 7, 2), "float32")
    h, w = np.arange(5) + rows, np.arange(7) + columns
    inside = ((h >= 0) & (h < 5))[:, None] & ((w >= 0) & (w < 7))
    clipped, wrapped = np.ix_(h.clip(0, 4), w.clip(0, 6)), np.ix_(h % 5, w % 7)
    mirrored = np.ix_(*(np.minimum(k % (2 * S), 2 * S - 1 - k % (2 * S)) for k, S in ((h, 5), (w, 7))))
    want = {
        "constant": np.where(inside[..., None], x[:, *clipped], np.float32(0.3)),
        "nearest": x[:, *clipped],
        "reflect": x[:, *mirrored],
        "wrap": x[:, *wrapped],
    }
    for fill_mode in FILL_MODES:
        with dispatch.using(mode):
            y = warp(x, shift(3, rows, columns), fill_mode=fill_mode, fill_value=0.3)
        np.testing.assert_array_equal(y, want[fill_mode], err_msg=fill_mode)


@BOTH
@pytest.mark.parametrize("side", [1, 2, 7, 48])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, -1])
@every_fill
def test_quarter_turns_are_exact_and_counter_clockwise(mode, side, turns, fill_mode):
    x = images((2, side, side, 1), "float32")
    turn = RandomRotation((90 * turns, 90 * turns), fill_mode, fill_value=9)
    with dispatch.using(mode):
        y = turn(x, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(y, np.rot90(x, turns, axes=(1, 2)))


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_strided_and_empty_batches(mode, dtype):
    whole = images((6, 10, 9, 4), dtype)
    with dispatch.using(mode):
        for x in (whole[::2], whole[:, ::-1, 1:, 1:3], whole.transpose(0, 2, 1, 3), whole[:0], whole[:1]):
            got, want = (warp(a, maps(x.shape), fill_mode="wrap") for a in (x, x.copy()))
            np.testing.assert_array_equal(got, want)
            assert (got.shape, got.dtype) == (x.shape, x.dtype)


@simd.kernel((simd.vector_in, simd.vector_in, simd.vector_out))
def gathered(x, places, y):
    """y = x[2 + ⌊places⌋], and behind that ⌊places⌋."""
    k = floor(simd.load(simd.address(places), 0))
    simd.store(simd.address(y), 0, gather(simd.address(x), 2, k))
    simd.store(simd.address(y), simd.LANES, floor(simd.load(simd.address(places), simd.LANES)))


def test_gather_reads_sixteen_places_and_floor_goes_down():
    x, y = np.arange(100, dtype="float32"), np.zeros(32, "float32")
    places = np.random.default_rng(0).uniform(0, 98, 32).astype("float32")
    places[16:] -= 60
    gathered(x, places, y)
    np.testing.assert_array_equal(y[:16], 2 + np.floor(places[:16]))
    np.testing.assert_array_equal(y[16:], np.floor(places[16:]))


def test_images_without_change_of_value_stay_so():
    x = np.full((2, 9, 11, 3), 0.7, "float32")
    for fill_mode in ("nearest", "reflect", "wrap"):
        np.testing.assert_array_equal(warp(x, maps(x.shape), fill_mode=fill_mode), x)


def test_a_map_too_far_for_float32_is_left_to_the_definition():
    x, far = images((2, 5, 7, 1), "float32"), shift(2, 5 * 2.0**21, -7 * 2.0**20)
    np.testing.assert_array_equal(warp(x, far, fill_mode="wrap"), x)
    with dispatch.using("strict"), pytest.raises(RuntimeError, match=r"warp\.warp: the numba kernel declined"):
        warp(x, far, fill_mode="wrap")


@pytest.mark.parametrize(
    ("x", "matrices", "options", "message"),
    [
        (np.zeros((2, 3, 3)), shift(2, 0, 0), {}, r"x has shape \(2, 3, 3\), wanted images \(N, H, W, C\)"),
        (np.zeros((2, 0, 3, 1)), shift(2, 0, 0), {}, r"x has shape \(2, 0, 3, 1\), wanted .* of a pixel or more"),
        (np.zeros((2, 3, 3, 1), "int64"), shift(2, 0, 0), {}, "x is int64, wanted one of float32, float64, uint8"),
        (np.zeros((2, 3, 3, 1)), shift(3, 0, 0), {}, r"matrices have shape \(3, 2, 3\), wanted \(2, 2, 3\)"),
        (np.zeros((2, 3, 3, 1)), shift(2, 0, np.nan), {}, "matrices hold NaN or Inf, wanted numbers"),
        (
            np.zeros((2, 3, 3, 1)),
            shift(2, 0, 0),
            {"fill_mode": "mirror"},
            "fill_mode is 'mirror', wanted one of constant, nearest, reflect, wrap",
        ),
    ],
)
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_error_messages(x, matrices, options, message, dtype):
    x = x if dtype is None or x.dtype == "int64" else x.astype(dtype)
    with pytest.raises(ValueError, match=f"warp: {message}"):
        warp(x, matrices, **options)
