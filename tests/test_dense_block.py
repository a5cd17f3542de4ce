"""The dense block in one buffer: its kernel against the float64 definition, and the step that calls it."""

import numpy as np
import pytest

import minicnn
from minicnn import dispatch, gradcheck, nn
from minicnn.ops import dense_block
from minicnn.plan import FusedDenseBlock, fuse

SHAPES = [  # N, H, W, C, layers, growth, width; sizes that do and do not fill a tile, a chunk of rows, a cache
    (4, 3, 3, 64, 3, 32, 128),
    (2, 12, 12, 32, 2, 32, 128),
    (7, 5, 6, 48, 2, 16, 80),
    (64, 1, 1, 96, 2, 32, 128),
    (8, 1, 3, 16, 1, 16, 16),
    (1, 7, 2, 32, 2, 48, 64),
    (33, 6, 6, 32, 1, 32, 128),
]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def make(shape, dtype="float32", kinks=True):
    """(x, parameters), read-only.  Without kinks no number lies near the kink of a ReLU: a channel is on or off."""
    N, H, W, C, layers, growth, width = shape
    rng, parameters = np.random.default_rng(0), []
    x = rng.normal(1, 2, (N, H, W, C))
    for k in range(layers):
        c = C + k * growth
        parameters += [rng.uniform(0.5, 1.5, c), rng.normal(0, 0.5, c), rng.normal(0, c**-0.5, (1, 1, c, width))]
        parameters += [rng.uniform(0.5, 1.5, width), rng.normal(0, 0.5, width)]
        if not kinks:
            parameters[-1], parameters[-4] = (10 * rng.choice([-1, 1, 1], beta.shape) for beta in parameters[:-5:-3])
        parameters += [rng.normal(0, (9 * width) ** -0.5, (3, 3, width, growth))]
    arrays = [a.astype("float32").astype(dtype) for a in (x, *parameters)]
    for a in arrays:
        a.flags.writeable = False
    return arrays[0], arrays[1:]


def given(shape, dtype="float32"):
    """Statistics for inference."""
    _, _, _, C, layers, growth, width = shape
    rng = np.random.default_rng(5)
    sizes = [n for k in range(layers) for n in (C + k * growth, width)]
    moments = [m for n in sizes for m in (rng.normal(0.5, 0.5, n), rng.uniform(0.5, 2, n))]
    return [m.astype("float32").astype(dtype) for m in moments]


def close(got, want, tolerance, quantile=1.0):
    assert (got.shape, got.dtype) == (want.shape, np.dtype("float32"))
    error = np.quantile(np.abs(got - want), quantile) / max(np.abs(want).max(), 1e-30)
    assert error <= tolerance, error


def definition(shape, dy=None, statistics=None, kinks=True):
    """(y, cache, gradients) in float64."""
    x, parameters = make(shape, "float64", kinks)
    with dispatch.using("reference"):
        y, cache = dense_block.forward(x, *parameters, statistics=statistics)
        return y, cache, None if dy is None else dense_block.backward(dy.astype("float64"), cache)


def cotangent(shape):
    N, H, W, C, layers, growth, _ = shape
    return np.random.default_rng(1).normal(size=(N, H, W, C + layers * growth)).astype("float32")


@every_shape
@pytest.mark.parametrize("kinks", [True, False])
def test_the_kernel_is_the_definition(shape, kinks):
    dy = cotangent(shape)
    y, cache, _ = definition(shape, kinks=kinks)
    x, parameters = make(shape, kinks=kinks)
    with dispatch.using("strict"):
        got, got_cache = dense_block.forward(x, *parameters)
        got_gradients = dense_block.backward(dy, got_cache)
    close(got, y, 5e-6)
    for name in ("mean", "var", "hidden_mean", "hidden_var"):
        close(getattr(got_cache, name), getattr(cache, name), 5e-6)
    same_gradients(got_gradients, shape, kinks)


def same_gradients(got, shape, kinks):
    """Of numbers near a kink, one may fall on its other side, and moves the gradients of a small batch.

    Without kinks the kernel is as near to the truth as the definition in float32, up to a small factor.
    """
    dy = cotangent(shape)
    _, _, want = definition(shape, dy, kinks=kinks)
    x, parameters = make(shape, kinks=kinks)
    with dispatch.using("reference"):
        rounded = dense_block.backward(dy, dense_block.forward(x, *parameters)[1])
    for k, (a, b, c) in enumerate(zip(got, want, rounded, strict=True)):
        if kinks:
            close(a, b, 0.2)
            close(a, b, 2e-2, quantile=0.5)
        elif k % 6 != 2:  # beta1, whose gradient is 0: the channel is on or off, and the next norm takes shifts away
            close(a, b, 5e-6 + 10 * np.abs(b - c).max() / np.abs(b).max())


@every_shape
def test_inference(shape):
    y, _, _ = definition(shape, statistics=given(shape, "float64"))
    x, parameters = make(shape)
    with dispatch.using("strict"):
        got, _ = dense_block.forward(x, *parameters, statistics=given(shape))
    close(got, y, 5e-6)


@pytest.mark.parametrize("modes", [("reference", "strict"), ("strict", "reference")], ids="-".join)
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_any_forward_goes_with_any_backward(shape, modes):
    dy = cotangent(shape)
    x, parameters = make(shape, kinks=False)
    with dispatch.using(modes[0]):
        _, cache = dense_block.forward(x, *parameters)
    with dispatch.using(modes[1]):
        same_gradients(dense_block.backward(dy, cache), shape, False)


def test_strided_arrays_and_no_arrays_are_written_to():
    shape = SHAPES[0]
    x, parameters = make(shape)
    dy = cotangent(shape)
    with dispatch.using("strict"):
        y, cache = dense_block.forward(x, *parameters)
        gradients = dense_block.backward(dy, cache)
        kept = y.copy()
        again = dense_block.backward(dy, cache)
        other, other_cache = dense_block.forward(strided(x), *map(strided, parameters))
        others = dense_block.backward(strided(dy), other_cache)
    assert np.array_equal(y, kept)
    assert np.array_equal(y, other)
    for a, b, c in zip(gradients, again, others, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


def strided(a):
    return np.flip(np.repeat(np.flip(a), 2, axis=-1)[..., ::2])


@pytest.mark.parametrize("statistics", [False, True])
def test_nan_comes_through(statistics):
    shape = SHAPES[0]
    x, parameters = make(shape)
    x = x.copy()
    x[1, 1, 1, 3] = np.nan
    with dispatch.using("strict"):
        y, _ = dense_block.forward(x, *parameters, statistics=given(shape) if statistics else None)
    assert np.isnan(y[1, 1, 1, 64:]).all()
    assert np.isnan(y[0]).any() != statistics  # through the statistics of the batch alone


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3, 3, 3, 6, 2, 16, 16), "float32"), ((3, 3, 3, 16, 2, 6, 16), "float32"), (SHAPES[4], "float64")],
)
def test_what_the_kernel_declines_the_definition_computes(shape, dtype):
    x, parameters = make(shape, dtype)
    with (
        dispatch.using("strict"),
        pytest.raises(RuntimeError, match=r"dense_block\.forward: the numba kernel declined"),
    ):
        dense_block.forward(x, *parameters)
    y, cache = dense_block.forward(x, *parameters)
    want, _, _ = definition(shape)
    np.testing.assert_allclose(y, want, atol=1e-4)
    assert y.dtype == dense_block.backward(np.ones_like(y), cache)[0].dtype == dtype


def test_gradients_with_given_statistics():
    shape = (3, 3, 2, 2, 2, 1, 2)
    x, parameters = make(shape, "float64")
    kwargs = {"statistics": tuple(given(shape, "float64")), "eps": 0.1}
    gradcheck(dense_block, (x, *parameters), kwargs=kwargs, rtol=1e-7)


# the step


def blocks(training=True, dtype="float32"):
    """Two equal blocks, one of them fused."""
    pair = [nn.DenseBlock(16, 2, 16, 2, rng=0).astype(dtype).train(training) for _ in range(2)]
    return pair[0], FusedDenseBlock("block", pair[1]).train(training)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_step_is_the_block(training):
    block, step = blocks(training)
    rng = np.random.default_rng(0)
    for _ in range(2):
        x, dy = rng.normal(size=(6, 4, 5, 16)).astype("float32"), rng.normal(size=(6, 4, 5, 48)).astype("float32")
        with minicnn.record():
            with dispatch.using("reference"):
                y, dx = block(x), block.backward(dy)
            close(step(x), y, 5e-6)
            close(step.backward(dy), dx, 1e-5)
    for (name, p), q in zip(block.named_parameters(), step.block.parameters(), strict=True):
        close(q.grad, p.grad, 2e-5), name
    for key, value in block.state_dict().items():
        close(step.block.state_dict()[key], value, 2e-6)


def other_eps(block):
    block.denselayer2.norm1.eps = 0.1


def frozen_statistics(block):
    block.denselayer1.norm2.eval()


def other_activation(block):
    block.denselayer1.relu1 = nn.Tanh()


def biased(block):
    block.denselayer2.conv1 = nn.Conv2d(32, 32, 1, rng=0)


@pytest.mark.parametrize("change", [other_eps, frozen_statistics, other_activation, biased])
def test_a_block_that_the_op_cannot_compute_runs_by_its_layers(change):
    block, inner = (nn.DenseBlock(16, 2, 16, 2, rng=0) for _ in range(2))
    change(block)
    change(inner)
    step = FusedDenseBlock("block", inner)
    assert step.computes() == "DenseBlock"
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 16)).astype("float32")
    assert np.array_equal(step(x), block(x))
    assert np.array_equal(
        step.backward(np.ones((3, 4, 4, 48), "float32")), block.backward(np.ones((3, 4, 4, 48), "float32"))
    )


def test_fuse_takes_a_dense_block_and_pools_before_a_1x1_convolution():
    layers = (
        nn.DenseBlock(16, 2, 16, 2, rng=0),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 24, 1, rng=1),
        nn.AvgPool2d(2),
    )
    model = nn.Sequential(*layers)
    fused = fuse(model)
    assert [name for name, _ in fused.body.steps] == ["0", "1, 2, 4", "3"]
    x = np.random.default_rng(0).normal(size=(4, 5, 6, 16)).astype("float32")
    with dispatch.using("reference"):
        want = model(x)
        dx = model.backward(want)
    gradients = [p.grad for p in model.parameters()]
    model.zero_grad()
    close(fused(x), want, 5e-6)
    close(fused.backward(want), dx, 1e-5)
    for p, g in zip(model.parameters(), gradients, strict=True):
        close(p.grad, g, 2e-5)


@pytest.mark.parametrize(
    ("conv", "pool"),
    [
        ({"kernel_size": 1, "padding": 1}, {"kernel_size": 2}),
        ({"kernel_size": 1, "stride": 2}, {"kernel_size": 2}),
        ({"kernel_size": 2}, {"kernel_size": 2}),
        ({"kernel_size": 1}, {"kernel_size": 2, "padding": 1}),
        ({"kernel_size": 1}, {"kernel_size": 2, "ceil_mode": True}),
    ],
)
def test_other_convolutions_and_pools_stay_in_their_order(conv, pool):
    model = nn.Sequential(nn.Conv2d(16, 8, **conv, rng=0), nn.AvgPool2d(**pool))
    assert [name for name, _ in fuse(model).body.steps] == ["0, 1"]
