"""The SIMD room: what each function of vector.py and tile.py does, against its meaning in plain.py."""

import functools
import inspect

import numba
import numpy as np
import pytest

from minicnn import simd
from minicnn.simd import functions, move, plain, tile, vector

LANES = simd.LANES
# A row is a statement that means the same in a kernel and, with the functions of plain.py, in NumPy.  x, y are float32,
# b, c uint8; x holds NaN, infinities, zeros and equal pairs.
STATEMENTS = (
    "store(y, 3, load(x, 5))",
    "store_part(y, 3, load_part(x, 5, 7), 11)",
    "store_part(y, 3, load_part(x, 5, 16), 16)",
    "store_part(y, 3, load_part(x, 5, 0), 1)",
    "store_part(y, 3, load(x, 0), 0)",
    "store_bytes(c, 3, load_bytes(b, 5))",
    "store_bytes_part(c, 3, load_bytes_part(b, 5, 7), 11)",
    "store_bytes_part(c, 3, load_bytes(b, 0), 0)",
    "store_bytes(c, 0, load_bytes(b, 0) * spread(1000) + spread(77))",
    "prefetch(x, 5)",
    "store(address(y), 3, load(address(x), 5))",
    "store(y, 0, broadcast(0.1))",
    "store(y, 0, whole(lanes()))",
    "store(y, 0, whole(spread(-1)))",
    "store(y, 0, whole(spread(2**31 + 5)))",
    "store(y, 0, load(x, 0) + load(x, 16))",
    "store(y, 0, load(x, 0) - load(x, 16))",
    "store(y, 0, load(x, 0) * load(x, 16))",
    "store(y, 0, load(x, 0) / load(x, 16))",
    "store(y, 0, whole(load_bytes(b, 0) + load_bytes(b, 16)))",
    "store(y, 0, whole(load_bytes(b, 0) - load_bytes(b, 16)))",
    "store(y, 0, whole(load_bytes(b, 0) * load_bytes(b, 16)))",
    "store(y, 0, whole(load_bytes(b, 0) ^ load_bytes(b, 16)))",
    "store(y, 0, whole(shift_right(load_bytes(b, 0) - spread(128), 5)))",
    "store(y, 0, fma(load(x, 0), load(x, 16), load(x, 32)))",
    "store(y, 0, square_root(load(x, 0)))",
    "store(y, 0, nearest(load(x, 0) * broadcast(2.5)))",
    "store(y, 0, power_of_two(whole(lanes()) * broadcast(-8) + broadcast(7)))",
    "store(y, 0, maximum(load(x, 0), load(x, 16)))",
    "store(y, 0, minimum(load(x, 0), load(x, 16)))",
    "store(y, 0, select(greater(load(x, 0), load(x, 16)), load(x, 32), load(x, 48)))",
    "store(y, 0, select(unordered(load(x, 0), load(x, 16)), load(x, 32), load(x, 48)))",
    "store(y, 0, select(both(greater(load(x, 0), load(x, 9)), greater(load(x, 3), load(x, 4))), load(x, 1), load(x, 2)))",  # noqa: E501
    "store(y, 0, select(equal(load_bytes(b, 0), load_bytes(b, 16)), load(x, 32), load(x, 48)))",
    "store(y, 0, select(unsigned_less(load_bytes(b, 0) - spread(9), load_bytes(b, 16)), load(x, 32), load(x, 48)))",
    "store(y, 0, whole(select(greater(load(x, 0), load(x, 16)), load_bytes(b, 0), load_bytes(b, 16))))",
    "store(y, 0, broadcast(total(load(x, 64))))",
)
EXACT = {s for s in STATEMENTS if "fma(" not in s}  # plain.fma rounds twice
OURS = {
    n: getattr(vector, n, None) or getattr(functions, n)
    for n, f in vars(plain).items()
    if inspect.isfunction(f) and n not in ("elements", "tile")
}


def memory():
    """x, y, b, c of the statements."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(90, "float32")
    x[[0, 17, 2, 19, 20]] = np.nan, np.nan, np.inf, -np.inf, np.inf
    x[[4, 21, 6, 22]] = 0, 0, x[22], -0.0
    b = rng.integers(0, 256, 64, "uint8")
    b[16:20] = b[:4]
    return x, rng.standard_normal(40, "float32"), b, rng.integers(0, 256, 40, "uint8")


def compiled(statement):
    """The statement as a kernel of the SIMD room."""
    scope = dict(OURS)
    exec(f"def run(x, y, b, c):\n    {statement}", scope)
    return numba.njit(**simd.compile.OPTIONS)(scope["run"])


@pytest.mark.parametrize("statement", STATEMENTS)
def test_vectors(statement):
    got, want = memory(), memory()
    compiled(statement)(*got)
    with np.errstate(all="ignore"):
        exec(statement, vars(plain) | dict(zip("xybc", want, strict=True)))
    for g, w in zip(got, want, strict=True):
        if statement in EXACT:
            np.testing.assert_array_equal(g, w)
        else:
            np.testing.assert_allclose(g, w, rtol=2e-7)


def test_every_function_has_a_row():
    assert [n for n in OURS if not any(f"{n}(" in s for s in STATEMENTS)] == []


def test_total_adds_halves_in_a_fixed_order():
    x = np.array([1e8, 1, -1e8, 1] * 4 + [0] * 74, "float32")
    y = np.zeros(40, "float32")
    compiled("store(y, 0, broadcast(total(load(x, 0))))")(x, y, None, None)
    assert y[0] == plain.total(x[:16])


@pytest.mark.parametrize("offset", [0, 1, 7])
def test_functions_end_with_the_right_rounding(offset):
    from scipy.special import erfc

    x = np.concatenate(
        [np.linspace(-100, 88, 4096 + offset), [-1e4, 0, 1e-8, -1e-8, 1e4, np.inf, -np.inf, np.nan]]
    ).astype("float32")
    below, unit, above = (
        -np.abs(x),
        np.linspace(0, 1, len(x)).astype("float32"),
        np.linspace(0, 6, len(x)).astype("float32"),
    )
    with np.errstate(all="ignore"):
        table = (
            (functions.exp, (x,), np.exp(x.astype("float64")), 3e-7, 1e-45),
            (functions.exp_minus_1, (below,), np.expm1(below.astype("float64")), 2e-7, 0),
            (functions.log_of_1_plus, (unit,), np.log1p(unit.astype("float64")), 4e-7, 0),
            (functions.error_function_complement, (above, np.exp(-(above**2))), erfc(above.astype("float64")), 0, 6e-7),
        )
    for function, arguments, want, rtol, atol in table:
        np.testing.assert_allclose(along(function, *arguments), want.astype("float32"), rtol=rtol, atol=atol)


def along(function, *arguments):
    """A function of vectors, over whole arrays."""
    names = [f"x{k}" for k in range(len(arguments))]
    loads = ", ".join(f"load_part({n}, i, min(16, len(y) - i))" for n in names)
    text = f"def run({', '.join(names)}, y):\n    for i in range(0, len(y), 16):\n"
    scope = OURS | {"function": function}
    exec(f"{text}        store_part(y, i, function({loads}), min(16, len(y) - i))", scope)
    y = np.empty_like(arguments[0])
    numba.njit(**simd.compile.OPTIONS)(scope["run"])(*arguments, y)
    return y


def call(function, *arguments):
    """function(*arguments), from compiled code."""
    numba.njit(lambda *args: function(*args))(*arguments)


def test_a_part_of_kernels_refuses_to_be_called_from_python():
    if not numba.config.DISABLE_JIT:
        with pytest.raises(TypeError, match=r"^copy is a part of kernels, and can be called by kernels alone$"):
            move.copy(np.zeros((1, 1), "float32"), 0, 1, np.zeros((1, 1), "float32"), 0, 1, 1, 1)


# tiles: rows, sixteens of columns, transposed, part
TILES = ((6, 1, False, False), (2, 2, False, False), (1, 1, False, True), (6, 1, True, False), (3, 1, True, True))


@pytest.mark.parametrize("add", [0, 1])
@pytest.mark.parametrize(("rows", "wide", "transposed", "part"), TILES)
def test_tiles(rows, wide, transposed, part, add):
    """Over three stretches of memory that overlap, as in a convolution."""
    A, B = (np.random.default_rng(k).standard_normal(400, "float32") for k in (0, 1))
    C, want = (np.random.default_rng(2).standard_normal(400, "float32") for _ in range(2))
    made = tile.make_tile(rows, wide, transposed=transposed, part=part)
    columns = (5,) if part else ()
    places = (A, 3, 9, B, 4, 33, C, 5, 41, 7, 3, 2, 11, add, *columns)
    call(made, *places)
    plainly = functools.partial(plain.tile, transposed, rows, 5 if part else LANES * wide)
    plainly(*places[:6], want, *places[7:14])
    np.testing.assert_allclose(C, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("M", [1, 2, 5, 6, 13])
@pytest.mark.parametrize("N", [1, 16, 37, 64, 85, 150])
def test_matrices_of_every_size(M, N, transposed):
    K, H = 5, 2
    A, B, C = (
        np.random.default_rng(k).standard_normal(s, "float32")
        for k, s in enumerate(((H, M, K), (H, K, N), (M + 1, N + 3)))
    )
    before, stored = C.copy(), np.ascontiguousarray(A.swapaxes(1, 2)) if transposed else A
    function = simd.multiply_tn if transposed else simd.multiply_nn
    call(function, stored, 0, M if transposed else K, B, 0, N, C, 2, N + 3, M, N, K, H, M * K, K * N, 1)
    want = before.copy()
    want[:M, 2 : N + 2] += np.einsum("hmk,hkn->mn", A.astype("float64"), B)
    np.testing.assert_allclose(C, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("M", [1, 15, 16, 33])
@pytest.mark.parametrize("N", [1, 16, 40])
def test_transposing_and_copying(M, N):
    A = np.random.default_rng(0).standard_normal((M, N + 3), "float32")
    for function, shape in ((move.transpose, (N, M + 2)), (move.copy, (M, N + 2))):
        B = np.zeros((shape[0] + 1, shape[1]), "float32")
        call(function, A, 1, N + 3, B, 1, shape[1], M, N)
        want = np.zeros_like(B)
        want[: shape[0], 1:-1] = A[:, 1 : N + 1] if function is move.copy else A[:, 1 : N + 1].T
        assert np.array_equal(B, want)
