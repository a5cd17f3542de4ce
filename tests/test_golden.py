"""Every op gives what PyTorch gave when tests/golden/ops.npz was made; and the masks of dropout, which PyTorch has not.

`python tests/make_golden.py` writes the file; its table says what the rows are.
"""

import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
from make_golden import CONSTANTS, DROPOUT_KEYS, GOLDEN, ROWS, dropout_hash

from minicnn import ops
from minicnn.cases import CASES, dense, fused
from minicnn.ops.dropout import hash32

every_row = pytest.mark.parametrize(("index", "row"), list(enumerate(ROWS)), ids=[str(row) for row in ROWS])


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def cut(flat, arrays):
    """flat in pieces of the shapes of these arrays; None where one is None."""
    sizes = [0 if a is None else a.size for a in arrays]
    assert flat.size == sum(sizes)
    pieces = np.split(flat.astype("float64"), np.cumsum(sizes)[:-1])
    return [None if a is None else piece.reshape(a.shape) for a, piece in zip(arrays, pieces, strict=True)]


def close(got, want, tolerance=1e-10):
    assert (got is None) == (want is None)
    if want is not None:
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max(initial=1e-300))


@every_row
def test_an_op_gives_what_pytorch_gave(index, row, golden):
    module = getattr(ops, row.op)
    like = row.make(np.random.default_rng(0))
    inputs = dict(zip(like, cut(golden[f"{index} inputs"], like.values()), strict=True))
    inputs = {k: v if v is None else v.astype(like[k].dtype) for k, v in inputs.items()}
    dy = golden[f"{index} dy"].astype("float64")
    y, cache = module.forward(*inputs.values(), **row.options)
    gradients = module.backward(dy, cache)
    free = [v for k, v in inputs.items() if k not in CONSTANTS]
    assert len(gradients) == len(free)
    for got, want in zip((y, *gradients), cut(golden[f"{index} results"], (dy, *free)), strict=True):
        close(got, want)


def test_the_file_holds_the_rows_of_the_table(golden):
    assert golden["rows"].tolist() == [str(row) for row in ROWS], "run python tests/make_golden.py"


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("dropout", *map(str, fused.CASES + dense.CASES))]
)
def test_every_op_and_every_option_has_golden_values(name):
    rows = [row for row in ROWS if row.op == name]
    assert rows
    for option, p in inspect.signature(getattr(ops, name).forward).parameters.items():
        if p.kind is p.KEYWORD_ONLY:
            assert len({repr(row.options.get(option, p.default)) for row in rows}) > 1, f"{option} never varies"


def kept(key, shape, p=0.5, **options):
    """Whether each element of an array of this shape passes dropout; what passes must be scaled by 1/(1 - p)."""
    y, _ = ops.dropout.forward(np.ones(shape), p=p, rng=key, **options)
    mask = y != 0
    np.testing.assert_allclose(y[mask], 1 / (1 - p), rtol=1e-15)
    return mask


@pytest.mark.parametrize(("k", "key"), list(enumerate(DROPOUT_KEYS)))
@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_the_dropout_mask_of_a_key_never_changes(k, key, p, golden):
    want = golden["dropout hashes"][k] >= int(p * 2**32)
    assert int(golden["dropout keys"][k]) == key
    assert np.array_equal(kept(key, 64, p), want)
    assert np.array_equal(kept(key, (4, 2, 8), p), want.reshape(4, 2, 8))
    assert np.array_equal(kept(key, (8, 3, 5, 8), p, channelwise=True)[:, 1, 2], want.reshape(8, 8))


def test_the_dropout_hash_of_elements_beyond_the_first_2_to_the_32():
    first = 5 * 2**32 - 2
    library = SimpleNamespace(asarray=np.asarray, arange=lambda n, dtype: np.arange(first, first + n, dtype=dtype))
    for key in DROPOUT_KEYS:
        assert hash32(library, key, 4).tolist() == [dropout_hash(key, first + k) for k in range(4)]


# Statistics of the masks.  Keys are fixed, so every one of these either always passes or always fails.
N = 2**18
KEYS = [7, 8, 9, 7 + 2**32, 2**63 + 11]


def chi_square(counts, probabilities):
    """How many standard deviations Pearson's statistic lies above its mean."""
    expected = counts.sum() * np.asarray(probabilities)
    freedom = expected.size - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


def dependence(a, b, p):
    """The same of the table of two masks against that of independent ones."""
    counts = np.bincount(2 * a.astype(int) + b, minlength=4)
    return chi_square(counts, np.outer([p, 1 - p], [p, 1 - p]).ravel())


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_the_rate_of_dropout(key, p):
    deviation = kept(key, N, p).sum() - N * (1 - p)
    assert abs(deviation) < 4 * math.sqrt(N * p * (1 - p))


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_dropout_masks_of_two_keys_are_independent_wherever_they_are_laid(p):
    masks = [kept(key, N, p) for key in KEYS]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            for shift in (-2, -1, 0, 1, 2, 64):
                assert dependence(a, np.roll(b, shift), p) < 10


@pytest.mark.parametrize("key", KEYS)
def test_neighbouring_elements_of_a_dropout_mask_are_independent(key):
    assert neighbours(kept(key, N)) < 5
    mask = kept(key, N, 0.3)
    for distance in (1, 2, 3, 8, 32, 48, 1024):
        assert dependence(mask[distance:], mask[:-distance], 0.3) < 10


def neighbours(mask):
    """chi_square of the 256 patterns of 8 neighbours, for p = 1/2."""
    return chi_square(np.bincount(np.packbits(mask), minlength=256), np.full(256, 1 / 256))


def test_these_tests_reject_masks_that_are_not_random():
    """One round of the hash, u_k = h(k + key), with which two masks are one mask, shifted; and a mask with a period."""

    def one_round(key):
        c = np.arange(N, dtype="uint32") + np.uint32(key)
        c = (c ^ (c >> 16)) * np.uint32(0x85EBCA6B)
        c = (c ^ (c >> 13)) * np.uint32(0xC2B2AE35)
        return (c ^ (c >> 16)) >= 2**31

    assert dependence(one_round(7), np.roll(one_round(8), 1), 0.5) > 1000
    assert neighbours(np.arange(N) % 2 == 0) > 1000


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_channelwise_dropout_drops_whole_channels(p):
    mask = kept(3, (64, 5, 4, 32), p, channelwise=True)
    whole = mask[:, 0, 0]
    assert np.array_equal(mask, np.broadcast_to(whole[:, None, None], mask.shape))
    assert abs(whole.sum() - whole.size * (1 - p)) < 4 * math.sqrt(whole.size * p * (1 - p))
    assert 0 < whole[0].sum() < 32
    assert 0 < whole[:, 0].sum() < 64


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_nothing_and_of_everything(p):
    x = np.linspace(-1, 1, 12).reshape(3, 4)
    y, cache = ops.dropout.forward(x, p=p, rng=5)
    assert np.array_equal(y, (1 - p) * x)
    assert np.array_equal(ops.dropout.backward(x, cache)[0], (1 - p) * x)


def test_a_generator_gives_a_new_mask_each_time_and_the_same_ones_again():
    def masks(seed):
        rng = np.random.default_rng(seed)
        return [kept(rng, 64) for _ in range(2)]

    (a, b), (c, d) = masks(1), masks(1)
    assert np.array_equal(a, c)
    assert np.array_equal(b, d)
    assert not np.array_equal(a, b)
