"""Winograd's convolution: its matrices exactly, over the rationals, and its kernels against the definition."""

import os
import subprocess
import sys
from fractions import Fraction
from itertools import chain

import numba
import numpy as np
import pytest

from minicnn import dispatch
from minicnn.ops import conv2d, conv2d_winograd
from minicnn.ops.winograd_matrices import POINTS, apply, matrices, sandwich, transposed

TILES = sorted(POINTS)
OTHER_POINTS = [(0, 1), (0, 1, -1), (0, 1, -1, 2), (Fraction(1, 2), 3, -2), (0, 1, -1, 2, -2, Fraction(1, 2))]
every_tile = pytest.mark.parametrize("tile", TILES)


def numbers(rng, *shape):
    """Nested lists of fractions."""
    if not shape:
        return Fraction(int(rng.integers(-99, 100)), int(rng.integers(1, 20)))
    return [numbers(rng, *shape[1:]) for _ in range(shape[0])]


def times(matrix, x):
    return [sum(c * v for c, v in zip(row, x, strict=True)) for row in matrix]


def product(a, g):
    """The coefficients of a(x) g(x)."""
    s = [Fraction(0)] * (len(a) + len(g) - 1)
    for i, p in enumerate(a):
        for k, q in enumerate(g):
            s[i + k] += p * q
    return s


@pytest.mark.parametrize("points", [*POINTS.values(), *OTHER_POINTS])
def test_the_matrices_multiply_polynomials_and_correlate(points):
    rng, m = np.random.default_rng(0), len(points) - 1
    A, B, G = matrices([Fraction(p) for p in points])
    a, g, d = numbers(rng, m), numbers(rng, 3), numbers(rng, m + 2)
    values = [p * q for p, q in zip(times(G, g), times(A, a), strict=True)]
    assert times(B, values) == product(a, g)
    values = [p * q for p, q in zip(times(G, g), times(transposed(B), d), strict=True)]
    assert times(transposed(A), values) == [sum(g[k] * d[i + k] for k in range(3)) for i in range(m)]


@every_tile
def test_the_straight_line_code_convolves_in_two_dimensions(tile):
    rng, n = np.random.default_rng(1), tile + 2
    A, B, G = matrices(POINTS[tile])
    d, g = numbers(rng, n, n), numbers(rng, 3, 3)
    pairs = zip(chain(*sandwich(G, g)), chain(*sandwich(transposed(B), d)), strict=True)
    entries = [p * q for p, q in pairs]
    y = sandwich(transposed(A), [entries[i * n : (i + 1) * n] for i in range(n)])
    taps = [(i, j) for i in range(3) for j in range(3)]
    assert y == [[sum(g[i][j] * d[u + i][v + j] for i, j in taps) for v in range(tile)] for u in range(tile)]


@every_tile
@pytest.mark.parametrize("name", ["A", "B", "G"])
def test_sharing_the_work_of_mirrored_rows_changes_nothing(tile, name):
    rng, matrix = np.random.default_rng(2), getattr(matrices(POINTS[tile]), name)
    for L in (matrix, transposed(matrix)):
        x = numbers(rng, len(L[0]))
        assert apply(L, x) == times(L, x)


@every_tile
def test_the_entries_of_A_and_B_are_exact_in_float32(tile):
    A, B, _ = matrices(POINTS[tile])
    assert all(Fraction(float(np.float32(c))) == c for c in chain(*A, *B))


# the kernels

CASES = [  # N, H, W, C, O, padding
    (2, 8, 8, 16, 16, (1, 1)),
    (1, 5, 7, 17, 20, (1, 1)),
    (3, 9, 8, 48, 100, (0, 0)),
    (2, 7, 11, 100, 33, (2, 0)),
    (1, 1, 1, 1, 1, (1, 1)),
    (2, 3, 3, 5, 7, (0, 0)),
    (1, 2, 13, 32, 64, (2, 2)),
    (2, 6, 6, 128, 96, (1, 1)),
    (5, 22, 21, 64, 48, (1, 0)),
]


def data(N, H, W, C, channels, padding, seed=0):
    rng = np.random.default_rng(seed)
    x, dy = (rng.standard_normal((N, *size), dtype="float32") for size in ((H, W, C), out(H, W, channels, padding)))
    return (
        x,
        rng.standard_normal((3, 3, C, channels), dtype="float32"),
        rng.standard_normal(channels, dtype="float32"),
        dy,
    )


def out(H, W, channels, padding):
    return H + 2 * padding[0] - 2, W + 2 * padding[1] - 2, channels


def defined(x, w, b, dy, padding):
    """y, dx, dw, db of the definition, in float64."""
    with dispatch.using("reference"):
        y, cache = conv2d.forward(*(a.astype("float64") for a in (x, w, b)), padding=padding)
        return y, *conv2d.backward(dy.astype("float64"), cache)


def computed(x, w, b, dy, padding, tile, empty=lambda shape: np.full(shape, np.nan, "float32")):
    y, dx, dw, db = empty(dy.shape), empty(x.shape), empty(w.shape), empty(b.shape)
    conv2d_winograd.forward(x, w, b, y, padding, tile)
    conv2d_winograd.backward_data(dy, w, dx, padding, tile)
    conv2d_winograd.backward_weight(x, dy, dw, padding, tile, db)
    return y, dx, dw, db


def assert_close(got, wanted, tolerances):
    for a, b, tolerance in zip(got, wanted, tolerances, strict=True):
        error = np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-30)
        assert error <= tolerance


TOLERANCES = {4: (5e-6, 5e-6, 1e-5, 1e-6), 3: (3e-6, 3e-6, 4e-6, 1e-6)}


@every_tile
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_equals_the_definition(case, tile, threads, monkeypatch):
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip(f"Numba has {numba.config.NUMBA_NUM_THREADS} thread(s)")
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        arrays = data(*case)
        results = computed(*arrays, case[-1], tile)
        again = computed(*arrays, case[-1], tile)
    finally:
        numba.set_num_threads(before)
    assert_close(results, defined(*arrays, case[-1]), TOLERANCES[tile])
    assert all((a == b).all() for a, b in zip(results, again, strict=True))


@every_tile
@pytest.mark.parametrize("threads", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("block", [1, 150 << 10, 1 << 30], ids=["least", "uneven", "whole"])
@pytest.mark.parametrize("case", [(3, 6, 7, 48, 130, (1, 1)), (1, 3, 4, 64, 64, (1, 1))], ids=str)
def test_the_gradient_of_w_is_the_same_however_its_work_is_cut(case, tile, threads, block, monkeypatch):
    """Into blocks of dU, and those or the tiles among threads, of which some then have none."""
    monkeypatch.setattr(conv2d_winograd.threads, "count", lambda: threads)
    monkeypatch.setattr(conv2d_winograd, "BLOCK_OF_GRADIENT", block)
    x, w, b, dy = data(*case)
    dw, db = np.full(w.shape, np.nan, "float32"), np.full(b.shape, np.nan)
    conv2d_winograd.backward_weight(x, dy, dw, case[-1], tile, db)
    assert_close([dw, db], defined(x, w, b, dy, case[-1])[2:], TOLERANCES[tile][2:])


@pytest.mark.parametrize(("C", "channels"), [(16, 64), (64, 128), (96, 96), (128, 128), (512, 512), (1024, 16)])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_blocks_of_the_gradient_are_small_and_shared_evenly(C, channels, threads):
    rows, columns, parts = conv2d_winograd._cut_gradient(C, channels, 36, 576, threads)
    assert rows % 16 == 0
    assert columns % conv2d_winograd.PANEL == 0 or columns == channels
    assert 4 * 36 * rows * columns <= conv2d_winograd.BLOCK_OF_GRADIENT
    blocks, even = -(-C // rows) * -(-channels // columns), C % rows == channels % columns == 0
    assert (blocks * parts) % threads == 0
    assert even or parts == threads
    if threads == 1 and 4 * 36 * C * channels <= conv2d_winograd.BLOCK_OF_GRADIENT:
        assert (rows, columns, parts) == (C, channels, 1)


@every_tile
def test_a_large_batch_keeps_the_accuracy(tile):
    """Faces after a rectifier, as many terms in a sum of dw as a training step has."""
    x, w, b, dy = data(32, 22, 22, 64, 64, (1, 1))
    x, w = np.maximum(x, 0), w * np.float32(0.06)
    assert_close(computed(x, w, b, dy, (1, 1), tile), defined(x, w, b, dy, (1, 1)), TOLERANCES[tile])


@every_tile
def test_strided_and_read_only(tile):
    """Views into larger images on all sides, in and out: their surroundings stay as they are."""
    x, w, b, dy = data(3, 9, 10, 20, 40, (1, 1))
    frames = []

    def framed(shape, value=None):
        frames.append(np.full((2 * shape[0], shape[1] + 3, shape[2] + 2, shape[3] + 4), 7, "float32"))
        view = frames[-1][::2, 1:-2, 2:, 1:-3]
        view[...] = np.nan if value is None else value
        view.flags.writeable = value is None
        return view

    def empty(shape):
        return framed(shape) if shape[0] == 3 and len(shape) == 4 and shape[1] != 3 else np.empty(shape, "float32")

    w.flags.writeable = b.flags.writeable = False
    results = computed(framed(x.shape, x), w, b, framed(dy.shape, dy), (1, 1), tile, empty)
    assert_close(results, defined(x, w, b, dy, (1, 1)), TOLERANCES[tile])
    for frame in frames:
        frame[::2, 1:-2, 2:, 1:-3] = 7
        assert (frame == 7).all()


@every_tile
def test_an_empty_batch(tile):
    x, w, b, dy = data(0, 9, 10, 20, 40, (1, 1))
    y, dx, dw, db = computed(x, w, b, dy, (1, 1), tile)
    assert y.shape == dy.shape
    assert dx.shape == x.shape
    assert not dw.any()
    assert not db.any()


@every_tile
@pytest.mark.parametrize(
    ("activation", "slope"), [("none", 0.3), ("relu", 0.3), ("leaky_relu", 0.3), ("leaky_relu", 2)]
)
@pytest.mark.parametrize("scaled", [False, True])
def test_what_follows_the_convolution(tile, activation, slope, scaled):
    x, w, b, dy = data(2, 9, 10, 20, 40, (1, 1))
    s = np.random.default_rng(3).standard_normal(40, dtype="float32") if scaled else None
    y = np.full(dy.shape, np.nan, "float32")
    conv2d_winograd.forward(x, w, b if scaled else None, y, (1, 1), tile, s, activation, slope)
    z = defined(x, w * s if scaled else w, b if scaled else 0 * b, dy, (1, 1))[0]
    slope = {"none": 1, "relu": 0, "leaky_relu": slope}[activation]
    assert_close([y], [np.where(z > 0, z, slope * z)], [TOLERANCES[tile][0]])


@every_tile
def test_nan_stays_in_the_tiles_that_read_it(tile):
    x, w, b, dy = data(2, 12, 12, 16, 16, (1, 1))
    x[0, 5, 6, 3] = np.nan
    y, _, _, _ = computed(x, w, b, dy, (1, 1), tile)
    touched = np.zeros((2, 12, 12), bool)
    touched[0, 4:7, 5:8] = True
    tiles = touched.reshape(2, 12 // tile, tile, 12 // tile, tile).any((2, 4))
    reached = tiles.repeat(tile, 1).repeat(tile, 2)
    assert np.isnan(y[touched]).all()
    assert not np.isnan(y[~reached]).any()


def test_runs_as_plain_python():
    """Without Numba's compiler the kernels are Python functions on NumPy arrays."""
    folder = os.path.dirname(__file__)
    program = (
        "from test_winograd import *\n"
        "case = (2, 5, 3, 18, 17, (1, 1))\n"
        "for tile in TILES:\n"
        "    arrays = data(*case)\n"
        "    assert_close(computed(*arrays, case[-1], tile), defined(*arrays, case[-1]), TOLERANCES[tile])\n"
        "assert numba.config.DISABLE_JIT\n"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": folder}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


def test_other_tiles_are_errors():
    x, w, b, dy = data(1, 4, 4, 1, 1, (1, 1))
    with pytest.raises(ValueError, match="tile is 2, wanted one of 3, 4"):
        conv2d_winograd.forward(x, w, b, dy, (1, 1), 2)
