"""Initial weights: their variance, bounds, and that a seed decides them."""

import math

import numpy as np
import pytest

from minicnn.nn import init

SHAPES = [(200, 300), (3, 5, 20, 40), (1, 1, 100, 200), (7, 2, 3, 30, 20)]
FANS = [
    ((200, 300), (200, 300)),
    ((3, 5, 20, 40), (300, 600)),
    ((3, 3, 1, 8), (9, 72)),
    ((2, 3, 4, 5, 6), (120, 144)),
    ((0, 5), (0, 5)),
]
VARIANCES = {
    "he_normal": lambda i, o: 2 / i,
    "he_uniform": lambda i, o: 2 / i,
    "glorot_normal": lambda i, o: 2 / (i + o),
    "glorot_uniform": lambda i, o: 2 / (i + o),
    "lecun_normal": lambda i, o: 1 / i,
    "lecun_uniform": lambda i, o: 1 / i,
}
EVERY = [*VARIANCES, "normal", "uniform", "orthogonal", "trunc_normal"]


@pytest.mark.parametrize(("shape", "fans"), FANS)
def test_fans(shape, fans):
    assert init.fans(shape) == fans


@pytest.mark.parametrize("shape", [(), (5,)])
@pytest.mark.parametrize("name", [*VARIANCES, "orthogonal"])
def test_a_vector_has_no_fan_in(name, shape):
    with pytest.raises(ValueError, match=r"init: a weight of shape \(.*\) has no fan-in, wanted \(in, out\) or"):
        getattr(init, name)(shape, 0)


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_mean_and_variance(name, shape):
    a = getattr(init, name)(shape, 0, dtype="float64")
    variance = VARIANCES[name](*init.fans(shape))
    assert abs(a.mean()) < 4 * math.sqrt(variance / a.size)
    assert a.var() == pytest.approx(variance, rel=4 * math.sqrt(2 / a.size))
    if "uniform" in name:
        bound = math.sqrt(3 * variance)
        assert np.abs(a).max() <= bound
        assert np.abs(a).max() > 0.999 * bound
        assert (a**4).mean() == pytest.approx(bound**4 / 5, rel=0.05), "uniform, not normal"
    else:
        assert (a**4).mean() == pytest.approx(3 * variance**2, rel=0.1), "normal, not uniform"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_shape_dtype_and_seed(name, dtype):
    make = getattr(init, name)

    def bits(rng):
        a = make((3, 2, 6, 5), rng, dtype=dtype)
        assert (a.shape, a.dtype) == ((3, 2, 6, 5), dtype)
        return a.tobytes()

    assert bits(1) == bits(1) == bits(np.random.default_rng(1))
    assert len({bits(1), bits(2), bits(None), bits(None)}) == 4
    assert make((3, 4), 0).dtype == "float32"


def test_a_generator_goes_on():
    rng = np.random.default_rng(0)
    assert init.generator(rng) is rng
    first = init.he_normal((3, 4), rng)
    assert not np.array_equal(init.he_normal((3, 4), rng), first)


@pytest.mark.parametrize(("std", "bound"), [(1.0, 1.0), (0.3, 0.5)])
def test_normal_and_uniform(std, bound):
    a, b = init.normal((400, 500), 0, std=std), init.uniform((400, 500), 0, bound=bound)
    assert a.std() == pytest.approx(std, rel=0.01)
    assert b.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert 0.999 * bound < b.max() <= bound
    assert -bound <= b.min() < -0.999 * bound


@pytest.mark.parametrize("shape", [(8, 8), (20, 6), (6, 20), (3, 2, 4, 5), (2, 1, 3, 50)])
@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_orthogonal(shape, gain):
    w = init.orthogonal(shape, 0, gain=gain, dtype="float64").reshape(-1, shape[-1])
    small = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(small, gain**2 * np.eye(min(w.shape)), atol=1e-12)


def test_orthogonal_matrices_are_uniform_over_signs():
    """Without the fixed sign of R's diagonal, LAPACK's Q has one sign on its own diagonal nearly always."""
    signs = [np.sign(init.orthogonal((4, 4), seed, dtype="float64")[0, 0]) for seed in range(200)]
    assert abs(sum(signs)) < 4 * math.sqrt(200)


@pytest.mark.parametrize(("std", "limit"), [(0.02, 2.0), (1.0, 0.5), (0.5, 3.0)])
def test_trunc_normal(std, limit):
    a = init.trunc_normal((300, 400), 0, std=std, limit=limit, dtype="float64")
    assert np.abs(a).max() <= limit * std
    assert np.abs(a).max() > 0.99 * limit * std
    density = math.exp(-(limit**2) / 2) / math.sqrt(2 * math.pi)
    inside = math.erf(limit / math.sqrt(2))
    assert abs(a.mean()) < 4 * std / math.sqrt(a.size)
    assert a.var() == pytest.approx(std**2 * (1 - 2 * limit * density / inside), rel=0.02)


@pytest.mark.parametrize("fan_in", [1, 25, 400])
def test_torch_default(fan_in):
    a = init.torch_default((200, 300), fan_in, 0)
    assert 0.999 / math.sqrt(fan_in) < np.abs(a).max() <= 1 / math.sqrt(fan_in) * (1 + 1e-6)
    assert a.std() == pytest.approx(1 / math.sqrt(3 * fan_in), rel=0.01)


def test_torch_default_of_nothing():
    assert not init.torch_default((0, 4), 0, 0).size
    assert not init.torch_default((4,), 0, 0).any(), "the bias of a layer without inputs is 0"
