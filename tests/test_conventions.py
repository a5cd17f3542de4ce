"""What a derivative cannot tell: signatures and defaults, one-sided derivatives, ties, extremes."""

import inspect

import numpy as np
import pytest

from minicnn import ops

SIGNATURES = {
    "linear": "x, w, b=None",
    "conv2d": "x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1",
    "conv2d_act": "x, w, b=None, scale=None, *, activation='none', slope=0.01, "
    "stride=1, padding=0, dilation=1, groups=1",
    "conv_transpose2d": "x, w, b=None, *, stride=1, padding=0, output_padding=0",
    "max_pool2d": "x, *, kernel_size, stride=None, padding=0, ceil_mode=False",
    "avg_pool2d": "x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True",
    "global_avg_pool2d": "x",
    "zero_pad2d": "x, *, padding",
    "batch_norm": "x, gamma, beta, *, eps=1e-05",
    "batch_norm_inference": "x, gamma, beta, mean, var, *, eps=1e-05",
    "layer_norm": "x, gamma, beta, *, eps=1e-05",
    "group_norm": "x, gamma, beta, *, groups, eps=1e-05",
    "relu": "x",
    "leaky_relu": "x, *, slope=0.01",
    "prelu": "x, alpha",
    "elu": "x, *, alpha=1.0",
    "gelu": "x, *, approximate=False",
    "silu": "x",
    "sigmoid": "x",
    "tanh": "x",
    "softplus": "x",
    "softmax": "x",
    "log_softmax": "x",
    "dropout": "x, *, p, rng, channelwise=False",
    "flatten": "x",
    "concat": "*xs, axis=-1",
    "dense_block": "x, *parameters, statistics=None, eps=1e-05",
    "epilogue": "x, alpha=None, gamma=None, beta=None, mean=None, var=None, *, spec, key=0",
    "add": "*xs",
    "cross_entropy": "logits, target, *, weight=None, label_smoothing=0.0, reduction='mean'",
    "mse": "x, target, *, reduction='mean'",
    "binary_cross_entropy": "logits, target, *, reduction='mean'",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    signature = inspect.signature(getattr(ops, name).forward)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    got = str(inspect.Signature(bare))
    assert got == f"({SIGNATURES[name]})"


def test_every_op_has_its_signature_above():
    assert set(ops.__all__) == set(SIGNATURES)


@pytest.mark.parametrize(
    ("op", "arguments", "options", "slope"),
    [
        ("relu", (), {}, 0.0),
        ("leaky_relu", (), {"slope": 0.2}, 0.2),
        ("prelu", (np.array([0.3]),), {}, 0.3),
        ("elu", (), {"alpha": 0.7}, 0.7),
    ],
)
def test_at_zero_the_left_derivative_is_taken(op, arguments, options, slope):
    op = getattr(ops, op)
    y, cache = op.forward(np.zeros((1, 1)), *arguments, **options)
    assert y == 0
    assert op.backward(np.ones((1, 1)), cache)[0] == slope


def test_max_pool2d_gives_all_to_the_first_of_equals():
    _, cache = ops.max_pool2d.forward(np.ones((1, 4, 4, 1)), kernel_size=2)
    (dx,) = ops.max_pool2d.backward(np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 2, 1), cache)
    assert dx[0, :, :, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]


def test_max_pool2d_lets_nan_win_and_take_the_gradient():
    x = np.zeros((1, 2, 4, 1))
    x[0, 0, 1, 0], x[0, 1, 1, 0] = np.nan, np.nan
    y, cache = ops.max_pool2d.forward(x, kernel_size=2)
    assert np.isnan(y[0, 0, 0, 0])
    assert y[0, 0, 1, 0] == 0
    (dx,) = ops.max_pool2d.backward(np.ones((1, 1, 2, 1)), cache)
    assert dx[0, :, :2, 0].tolist() == [[0, 0], [0, 1]]


def test_max_pool2d_padding_never_wins():
    y, _ = ops.max_pool2d.forward(np.full((1, 3, 3, 1), -5.0), kernel_size=3, stride=2, padding=1)
    assert (y == -5).all()


def test_max_pool2d_of_minus_infinity_keeps_the_gradient_inside():
    _, cache = ops.max_pool2d.forward(np.full((1, 2, 2, 1), -np.inf), kernel_size=2, padding=1)
    (dx,) = ops.max_pool2d.backward(np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 2, 1), cache)
    assert dx[0, :, :, 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(("kernel", "dtype"), [((2, 2), "uint8"), ((16, 16), "uint8"), ((16, 17), "int32")])
def test_max_pool2d_of_many_taps(kernel, dtype):
    """An argmax takes a byte where a byte can tell all taps apart."""
    kh, kw = kernel
    x = np.zeros((1, kh, kw, 1))
    x[0, -1, -1, 0] = 1
    y, cache = ops.max_pool2d.forward(x, kernel_size=kernel)
    assert y == 1
    assert cache.argmax.dtype == dtype
    assert np.argwhere(ops.max_pool2d.backward(np.ones((1, 1, 1, 1)), cache)[0]).tolist() == [[0, kh - 1, kw - 1, 0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_of_huge_logits(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4]], dtype)
    loss, cache = ops.cross_entropy.forward(logits, np.array([1, 2]), reduction="none")
    np.testing.assert_allclose(loss, [2e4, np.log(2)], rtol=1e-6)
    (dlogits,) = ops.cross_entropy.backward(np.ones(2, dtype), cache)
    np.testing.assert_allclose(dlogits, [[1, -1, 0], [0, 0.5, -0.5]], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_scores_of_softmax(dtype):
    x = np.array([[1e4, -1e4, 1e4 - np.log(2)]], dtype)
    tolerance = 1e-3 if dtype == "float32" else 1e-9  # 1e4 - ln 2 itself is rounded
    np.testing.assert_allclose(ops.softmax.forward(x)[0], [[2 / 3, 0, 1 / 3]], rtol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_scores_of_log_softmax(dtype):
    x = np.array([[1e4, -1e4, 1e4 - np.log(2)]], dtype)
    tolerance = 1e-3 if dtype == "float32" else 1e-9  # 1e4 - ln 2 itself is rounded
    want = [[np.log(2 / 3), -2e4 + np.log(2 / 3), np.log(1 / 3)]]
    np.testing.assert_allclose(ops.log_softmax.forward(x)[0], want, rtol=tolerance)


def test_softmax_of_one_vector_and_of_one_class():
    np.testing.assert_allclose(ops.softmax.forward(np.zeros(4))[0], np.full(4, 0.25))
    assert ops.softmax.forward(np.ones((3, 1)))[0].tolist() == [[1.0]] * 3


def test_cross_entropy_of_one_class_is_zero():
    loss, cache = ops.cross_entropy.forward(np.ones((3, 1)), np.zeros(3, int), label_smoothing=1)
    assert loss == 0
    assert not ops.cross_entropy.backward(1.0, cache)[0].any()


@pytest.mark.parametrize(("axis", "shape"), [(0, (5, 2, 3)), (-3, (5, 2, 3)), (1, (2, 5, 3)), (2, (2, 2, 6))])
def test_concat_along_any_axis(axis, shape):
    rng = np.random.default_rng(0)
    fixed = [n for k, n in enumerate((2, 2, 3)) if k != axis % 3]
    a, b = (rng.normal(size=np.insert(fixed, axis % 3, n)) for n in ((2, 3) if axis != 2 else (3, 3)))
    y, cache = ops.concat.forward(a, b, axis=axis)
    assert y.shape == shape
    da, db = ops.concat.backward(y, cache)
    assert np.array_equal(da, a)
    assert np.array_equal(db, b)


@pytest.mark.parametrize("axis", [3, -4])
def test_concat_along_no_axis(axis):
    with pytest.raises(ValueError, match="concat"):
        ops.concat.forward(np.ones((2, 2, 3)), np.ones((2, 2, 3)), axis=axis)


def test_linear_of_one_feature_and_of_none():
    w = np.ones((1, 2))
    _, cache = ops.linear.forward(np.arange(3.0)[:, None], w)
    assert ops.linear.backward(np.ones((3, 2)), cache)[1].tolist() == [[3, 3]]
    y, cache = ops.linear.forward(np.ones((3, 0)), np.ones((0, 2)), np.ones(2))
    assert y.tolist() == [[1, 1]] * 3
    assert ops.linear.backward(y, cache)[2].tolist() == [3, 3]


def test_batch_norm_of_vectors_and_of_two_values():
    y, cache = ops.batch_norm.forward(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), eps=0.0)
    assert y.tolist() == [[-1], [1]]
    assert (cache.mean, cache.var) == (2, 1)
    with pytest.raises(ValueError, match=r"x \(1, 3\) has 1 value\(s\) a channel, wanted at least 2"):
        ops.batch_norm.forward(np.ones((1, 3)), np.ones(3), np.zeros(3))


@pytest.mark.parametrize("op", ["sigmoid", "softplus", "silu", "tanh", "gelu", "elu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_of_huge_numbers(op, dtype):
    x = np.array([-1e4, -50, 0, 50, 1e4], dtype)
    op = getattr(ops, op)
    y, cache = op.forward(x)  # an overflow would be a warning, and warnings are errors
    (dx,) = op.backward(np.ones_like(x), cache)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


@pytest.mark.parametrize(
    ("op", "arguments", "options"),
    [
        ("batch_norm", 2, {"eps": np.float64(1e-5)}),
        ("layer_norm", 2, {"eps": np.float64(1e-5)}),
        ("group_norm", 2, {"groups": 2, "eps": np.float64(1e-5)}),
        ("batch_norm_inference", 4, {"eps": np.float64(1e-5)}),
        ("leaky_relu", 0, {"slope": np.float64(0.2)}),
        ("elu", 0, {"alpha": np.float64(0.5)}),
        ("dropout", 0, {"p": np.float64(0.5), "rng": 1}),
    ],
)
def test_numpy_scalars_among_the_options_do_not_widen_float32(op, arguments, options):
    x = np.random.default_rng(0).normal(size=(3, 2, 2, 4)).astype("float32")
    op = getattr(ops, op)
    y, cache = op.forward(x, *[np.ones(4, "float32")] * arguments, **options)
    gradients = op.backward(y, cache)
    assert {y.dtype.name, *(g.dtype.name for g in gradients)} == {"float32"}


@pytest.mark.parametrize(("rng", "key"), [(0, 0), (7, 7), (2**64 - 1, 2**64 - 1), (2**64, 0), (-1, 2**64 - 1)])
def test_dropout_takes_any_int_for_a_key(rng, key):
    _, cache = ops.dropout.forward(np.ones(3), p=0.5, rng=rng)
    assert cache.key == key


def test_dropout_draws_keys_of_64_bits():
    rng = np.random.default_rng(0)
    keys = [ops.dropout.forward(np.ones(3), p=0.5, rng=rng)[1].key for _ in range(200)]
    assert len(set(keys)) == 200
    assert min(keys) < 2**64 / 20
    assert max(keys) > 2**64 * 0.95


def test_dropout_of_the_channels_of_vectors_is_of_elements():
    x = np.ones((5, 8))
    y, _ = ops.dropout.forward(x, p=0.5, rng=3, channelwise=True)
    assert np.array_equal(y, ops.dropout.forward(x, p=0.5, rng=3)[0])
