"""The matrix products of minicnn/simd/gemm.py against float64, on every shape of edge, and on lesser processors."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.simd import gemm
from minicnn.simd.gemm import gemm_nn, gemm_nt, gemm_tn

PRODUCTS = {gemm_nn: (False, False), gemm_nt: (False, True), gemm_tn: (True, False)}  # which of A, B is transposed
SIZES = (  # M, N, K: one, odd ones, just beside the sizes of tiles, panels, bands and blocks
    (1, 1, 1),
    (1, 7, 130),
    (1, 512, 300),
    (2, 16, 5),
    (3, 515, 259),
    (4, 37, 300),
    (5, 15, 64),
    (6, 64, 128),
    (7, 65, 129),
    (13, 7, 900),
    (64, 129, 257),
    (97, 63, 7),
    (100, 300, 131),
    (900, 33, 13),
    (13, 900, 70),
    (500, 257, 40),
    (2100, 17, 3),
)
SMALL = ((1, 1, 1), (2, 3, 4), (7, 65, 3), (3, 17, 5))  # for runs in plain Python


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, "float32")


def operands(product, M, N, K):
    """A and B as the product takes them, read-only."""
    found = [
        random(s, k).T.copy() if t else random(s, k)
        for k, (s, t) in enumerate(zip(((M, K), (K, N)), PRODUCTS[product], strict=True))
    ]
    for x in found:
        x.flags.writeable = False
    return found


def exact(product, A, B):
    A, B = (x.T if t else x for x, t in zip((A, B), PRODUCTS[product], strict=True))
    return A.astype("float64") @ B.astype("float64")


def close(C, want, K):
    """Within rounding: K products of numbers near 1, added in float32 one after the other."""
    np.testing.assert_allclose(C, want, rtol=0, atol=1e-6 + 2e-7 * K)


def check(sizes):
    """Every product of these sizes; also called in processes of their own, below."""
    for M, N, K in sizes:
        for product in PRODUCTS:
            A, B = operands(product, M, N, K)
            C = np.full((M, N), np.nan, "float32")
            product(A, B, C)
            close(C, exact(product, A, B), K)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products(size):
    check([size])


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_number_of_threads_does_not_change_a_bit(product, size):
    M, N, K = size
    A, B = operands(product, M, N, K)
    results = []
    for threads in (1, 1, 2, 3, 4):
        results.append(np.empty((M, N), "float32"))
        product(A, B, results[-1], threads=threads)
    assert all(np.array_equal(C, results[0]) for C in results)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sums_go_onto_what_is_there_and_nothing_beside_it_is_touched(product, size):
    """C and the operands are column slices of wider arrays, and A's rows run backwards."""
    M, N, K = size
    A, B = operands(product, M, N, K)
    wide = [np.hstack([random((len(x), 3)), x, random((len(x), 5))]) for x in (A[::-1], B)]
    sliced = wide[0][::-1, 3:-5], wide[1][:, 3:-5]
    buffer = random((M, N + 21))
    before = buffer.copy()
    product(*sliced, buffer[:, 11 : 11 + N], add=True)
    close(buffer[:, 11 : 11 + N], before[:, 11 : 11 + N] + exact(product, A, B), K)
    buffer[:, 11 : 11 + N] = before[:, 11 : 11 + N]
    assert np.array_equal(buffer, before)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("add", [False, True])
def test_bias(size, add):
    M, N, K = size
    A, B = operands(gemm_nn, M, N, K)
    bias, C = random(N, 3), random((M, N), 4) if add else np.full((M, N), np.nan, "float32")
    want = exact(gemm_nn, A, B) + bias + (C if add else 0)
    gemm_nn(A, B, C, bias=bias, add=add)
    close(C, want, K)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("size", [(0, 5, 3), (5, 0, 3), (5, 3, 0), (1, 300, 0), (0, 0, 0)], ids=str)
def test_empty(product, size):
    M, N, K = size
    A, B = operands(product, M, N, K)
    C = np.ones((M, N), "float32")
    product(A, B, C, add=True)
    assert (C == 1).all()
    product(A, B, C)
    assert (C == 0).all()


def test_the_bias_alone_where_there_is_nothing_to_sum():
    C = np.empty((4, 3), "float32")
    gemm_nn(np.empty((4, 0), "float32"), np.empty((0, 3), "float32"), C, bias=random(3))
    assert np.array_equal(C, np.broadcast_to(random(3), (4, 3)))


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_comes_through(product, value):
    A, B = (x.copy() for x in operands(product, 20, 70, 30))
    A[3, 4] = value
    C = np.empty((20, 70), "float32")
    product(A, B, C)
    assert np.array_equal(np.isfinite(C), np.isfinite(exact(product, A, B)))
    assert not np.isfinite(C).all()


def test_long_sums_stay_accurate():
    """Sums of DEPTH products are added to each other: the error grows with neither their number nor their length."""
    A, B = random((9216, 64)), random((9216, 128), 1)
    C, want = np.empty((64, 128), "float32"), exact(gemm_tn, A, B)
    gemm_tn(A, B, C)
    assert np.sqrt(np.mean((C - want) ** 2) / np.mean(want**2)) < 4e-7


@pytest.mark.parametrize(
    ("A", "B", "C", "message"),
    [
        ((2, 3), (4, 5), (2, 5), r"the shapes \(2, 3\), \(4, 5\), \(2, 5\) do not fit"),
        ((2, 3), (3, 5), (5, 2), "do not fit"),
        ((2, 6), (3, 5), (2, 5), r"shape \(2, 3\) has strides \(24, 8\), wanted a contiguous last axis"),
    ],
)
def test_errors(A, B, C, message):
    A = random(A)[:, ::2] if "strides" in message else random(A)
    with pytest.raises(ValueError, match=message):
        gemm_nn(A, random(B), np.empty(C, "float32"))


def test_another_dtype_is_an_error():
    with pytest.raises(TypeError, match="No matching definition"):
        gemm_nn(np.ones((2, 3)), random((3, 5)), np.empty((2, 5), "float32"))


def elsewhere(code, tmp_path, **settings):
    """Run code in a process of its own, with these settings of Numba and an empty cache."""
    path = os.pathsep.join(map(str, (Path(__file__).parent, Path(gemm.__file__).parents[2])))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment = kept | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path)} | settings
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names a processor of another kind")
def test_a_lesser_processor(tmp_path):
    code = "import test_gemm as t; t.check(t.SIZES); print(t.gemm.TILE_ROWS, t.gemm.TILE_COLUMNS)"
    assert elsewhere(code, tmp_path, NUMBA_CPU_NAME="haswell").strip() == "6 16"


def test_plain_python(tmp_path):
    elsewhere("import test_gemm as t; t.check(t.SMALL)", tmp_path, NUMBA_DISABLE_JIT="1")
