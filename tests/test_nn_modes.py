"""The layers that do one thing in training and another in evaluation: batch normalisation and dropout."""

import copy

import numpy as np
import pytest

from minicnn import nn, ops


def normal(*shape, seed=0, dtype="float32"):
    return (np.random.default_rng(seed).normal(size=shape) * 2 + 3).astype(dtype)


# batch normalisation

BATCHES = [
    pytest.param(nn.BatchNorm1d, (5, 3), id="(N, C)"),
    pytest.param(nn.BatchNorm1d, (4, 6, 3), id="(N, L, C)"),
    pytest.param(nn.BatchNorm2d, (2, 4, 5, 3), id="(N, H, W, C)"),
    pytest.param(nn.BatchNorm1d, (2, 3), id="a batch of two"),
]


@pytest.mark.parametrize(("layer", "shape"), BATCHES)
@pytest.mark.parametrize("momentum", [0.1, 0.0, 0.5, 1.0])
def test_running_statistics(layer, shape, momentum):
    norm = layer(3, momentum=momentum).astype("float64")
    mean, var = np.zeros(3), np.ones(3)
    for seed in range(3):
        x = normal(*shape, seed=seed, dtype="float64")
        y = norm(x)
        rows = x.reshape(-1, 3)
        mean = (1 - momentum) * mean + momentum * rows.mean(0)
        var = (1 - momentum) * var + momentum * rows.var(0, ddof=1)  # the unbiased one is stored,
        biased = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)  # the biased one normalises
        np.testing.assert_allclose(y.reshape(-1, 3), biased, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(norm.running_var, var, rtol=1e-12)
    norm.eval()
    x = normal(*shape, seed=9, dtype="float64")
    np.testing.assert_allclose(norm(x), (x - mean) / np.sqrt(var + 1e-5), rtol=1e-10)


@pytest.mark.torch
@pytest.mark.parametrize(("momentum", "eps"), [(0.1, 1e-5), (0.3, 0.1)])
def test_running_statistics_are_pytorchs(momentum, eps):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.BatchNorm2d(3, eps=eps, momentum=momentum).double()
    ours = nn.BatchNorm2d(3, eps=eps, momentum=momentum).astype("float64")
    for training in (True, True, False):
        theirs.train(training), ours.train(training)
        x = normal(2, 4, 5, 3, dtype="float64")
        wanted = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(ours(x), wanted, rtol=1e-9, atol=1e-12)
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name).numpy(), rtol=1e-12)


def test_evaluation_leaves_the_statistics_alone():
    norm = nn.BatchNorm2d(3)
    norm(normal(2, 4, 5, 3))
    norm.eval()
    mean, var = norm.running_mean, norm.running_var
    before = mean.tobytes(), var.tobytes()
    norm(normal(2, 4, 5, 3, seed=1))
    with nn.record():
        norm.backward(norm(normal(2, 4, 5, 3, seed=1)))
    assert norm.running_mean is mean
    assert norm.running_var is var
    assert (mean.tobytes(), var.tobytes()) == before


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_statistics_keep_their_dtype(dtype):
    norm = nn.BatchNorm1d(3).astype(dtype)
    assert norm(normal(8, 3, dtype=dtype)).dtype == dtype
    assert norm.running_mean.dtype == norm.running_var.dtype == dtype
    np.testing.assert_allclose(norm.running_mean, 0.1 * normal(8, 3, dtype="float64").mean(0), rtol=5e-3)


def test_statistics_stay_float32_whatever_comes():
    norm = nn.BatchNorm1d(3)
    norm(normal(8, 3, dtype="float64"))
    assert norm.running_mean.dtype == norm.running_var.dtype == "float32"


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_is_that_of_the_call_whatever_the_mode_is_by_then(training):
    norm, dy = nn.BatchNorm1d(3).train(training), normal(8, 3, seed=1)
    with nn.record():
        norm(normal(8, 3))
        wanted = norm.backward(dy)
        norm(normal(8, 3))
        norm.train(not training)
        assert np.array_equal(norm.backward(dy), wanted)
        norm(normal(8, 3))
        assert np.abs(norm.backward(dy) - wanted).max() > 0.1, "the modes differ"


def test_a_copied_layer_shares_no_statistics():
    norm = nn.BatchNorm1d(3)
    twin = copy.deepcopy(norm)
    twin(normal(8, 3))
    assert not norm.running_mean.any()
    assert (norm.running_var == 1).all()


# dropout


def survivors(y):
    return y != 0


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.9])
def test_what_survives_is_scaled(layer, p):
    x = normal(200, 3, 3, 10) + 100
    y = layer(p, rng=0)(x)
    kept = survivors(y)
    np.testing.assert_allclose(y[kept], x[kept] / np.float32(1 - p), rtol=1e-6)
    rate, trials = kept.mean(), kept.size if layer is nn.Dropout else 200 * 10
    assert abs(rate - (1 - p)) <= 4 * np.sqrt(p * (1 - p) / trials)
    assert y.dtype == x.dtype


def test_dropout2d_drops_whole_channels():
    y = nn.Dropout2d(0.5, rng=0)(np.ones((20, 3, 4, 10), "float32"))
    maps = survivors(y).reshape(20, 12, 10)
    assert (maps.all(1) | ~maps.any(1)).all()
    assert 0 < maps.any(1).mean() < 1
    single = survivors(nn.Dropout(0.5, rng=0)(np.ones((20, 3, 4, 10), "float32"))).reshape(20, 12, 10)
    assert not (single.all(1) | ~single.any(1)).all()


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.0, False), (0.5, False), (1.0, False)])
def test_the_identity(layer, p, training):
    dropout = layer(p, rng=0).train(training)
    before = copy.deepcopy(dropout.rng.bit_generator.state)
    x, dy = normal(2, 3, 3, 4), normal(2, 3, 3, 4, seed=1)
    with nn.record():
        assert dropout(x) is x
        assert dropout.backward(dy) is dy
    assert dropout.rng.bit_generator.state == before, "no key is drawn for nothing"


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
def test_p_1_leaves_nothing(layer):
    dropout = layer(1.0, rng=0)
    assert not dropout(normal(2, 3, 3, 4)).any()
    assert not dropout.backward(normal(2, 3, 3, 4)).any()


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
def test_the_gradient_passes_where_the_value_did(layer):
    dropout = layer(0.5, rng=0)
    kept = survivors(dropout(np.ones((4, 3, 3, 10), "float32")))
    dy = normal(4, 3, 3, 10, seed=1)
    np.testing.assert_array_equal(dropout.backward(dy), np.where(kept, 2 * dy, 0))


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
def test_a_seed_repeats_the_masks_and_every_call_has_its_own(layer):
    x = np.ones((8, 3, 3, 16), "float32")

    def masks(rng):
        dropout = layer(0.5, rng=rng)
        return [survivors(dropout(x)).tobytes() for _ in range(3)]

    assert masks(1) == masks(1) == masks(np.random.default_rng(1))
    assert len({*masks(1), *masks(2), *masks(None)}) == 9


def test_an_int_key_is_one_mask():
    dropout = nn.Dropout(0.5)
    dropout.rng = 7
    x = np.ones((5, 7), "float32")
    assert np.array_equal(dropout(x), dropout(x))
    assert np.array_equal(dropout(x), ops.dropout.forward(x, p=0.5, rng=7)[0])


# the learned rectifier


@pytest.mark.parametrize("shape", [1, 6, (6,), (4, 6), (5, 4, 6), (5, 1, 6)])
def test_prelu_has_the_slopes_it_was_given(shape):
    layer = nn.PReLU(shape, init=0.3)
    wanted = (shape,) if isinstance(shape, int) else shape
    assert layer.weight.shape == wanted
    np.testing.assert_array_equal(layer.weight.data, np.full(wanted, 0.3, "float32"))
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 6)).astype("float32")
    np.testing.assert_allclose(layer(x), np.where(x > 0, x, np.float32(0.3) * x), rtol=1e-6)
    layer.backward(np.ones_like(x))
    axes = tuple(k for k in range(4) if k == 0 or np.broadcast_to(layer.weight.data, x.shape[1:]).strides[k - 1] == 0)
    np.testing.assert_allclose(layer.weight.grad, np.minimum(x, 0).sum(axes).reshape(wanted), rtol=1e-5)
