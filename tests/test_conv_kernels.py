"""The CPU kernels of convolution against the float64 definition, on every shape of the models and on odd ones."""

import itertools

import numba
import numpy as np
import pytest

from minicnn import dispatch, models, threads
from minicnn.nn import Conv2d
from minicnn.ops import conv2d, conv2d_act, conv2d_numba
from minicnn.ops.windows import slide

MODELS = ("three_conv", "prelu_cnn", "zero_pad_cnn", "leaky_bn_cnn", "simple_cnn", "densenet201_fer")
BATCH = 3

#  x without its batch, w, options
ODD = (
    ((12, 12, 64), (3, 3, 64, 64), {"padding": 1}),
    ((13, 17, 33), (3, 3, 33, 70), {"padding": (2, 0)}),
    ((4, 5, 16), (3, 3, 16, 16), {"padding": 1}),
    ((1, 1, 80), (3, 3, 80, 32), {"padding": 1}),
    ((2, 9, 17), (3, 3, 17, 130), {"padding": 2}),
    ((17, 13, 6), (3, 2, 6, 8), {"stride": (2, 3), "padding": (2, 1), "dilation": (1, 2)}),
    ((17, 13, 6), (3, 3, 3, 8), {"stride": (4, 6), "padding": (2, 1), "dilation": (2, 4), "groups": 2}),
    ((17, 13, 6), (2, 2, 1, 12), {"stride": (3, 2), "dilation": (2, 3), "groups": 6}),
    ((17, 13, 19), (3, 3, 1, 19), {"padding": 1, "groups": 19}),
    ((17, 13, 32), (5, 3, 1, 32), {"stride": (2, 1), "dilation": (1, 2), "padding": (7, 2), "groups": 32}),
    ((20, 20, 8), (1, 1, 8, 8), {"stride": 3}),
    ((7, 6, 5), (1, 1, 5, 3), {"padding": 2}),
    ((5, 5, 8), (5, 5, 8, 8), {"padding": (7, 6)}),
    ((48, 40, 3), (7, 7, 3, 64), {"stride": 2, "padding": 3}),
    ((9, 200, 2), (3, 40, 2, 5), {"padding": (0, 30)}),
    ((6, 7, 1), (6, 7, 1, 1), {}),
    ((14, 15, 1), (5, 5, 1, 19), {"padding": 2}),
    ((11, 33, 2), (3, 3, 2, 33), {"stride": 2}),
    ((13, 26, 3), (2, 5, 3, 50), {"stride": (1, 2), "padding": (6, 7)}),
    ((23, 14, 4), (20, 3, 4, 16), {}),
    ((5, 40, 1), (1, 1, 1, 97), {}),
    ((4, 12, 4), (3, 1, 4, 40), {"stride": (2, 1), "padding": (5, 0)}),
)
every_shape = pytest.mark.parametrize(("shape", "w_shape", "options"), ODD)


def shapes_of(name):
    """(x without its batch, w, options) of every convolution of a model, once each."""
    found = {}
    model = getattr(models, name)(rng=0).eval()

    def note(layer, x):
        found[(x.shape[1:], layer.weight.shape, tuple(layer.options.items()))] = None

    forward = Conv2d.forward
    try:
        Conv2d.forward = lambda self, x: (note(self, x), forward(self, x))[1]
        with dispatch.using("reference"):
            model(np.zeros((1, 48, 48, 1), "float32"))
    finally:
        Conv2d.forward = forward
    return [(x, w, dict(options)) for x, w, options in found]


def arrays(shape, w_shape, options, batch=BATCH, seed=0):
    """x, w, b and dy in float32, read-only."""
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(s) for s in ((batch, *shape), w_shape, w_shape[3]))
    kwargs = {"stride": 1, "padding": 0, "dilation": 1} | options
    pairs = [k if isinstance(k, tuple) else (k, k) for k in (kwargs["stride"], kwargs["padding"], kwargs["dilation"])]
    dy = rng.standard_normal((batch, *slide("test", shape[:2], w_shape[:2], *pairs).out, w_shape[3]))
    found = [np.asarray(a, "float32") for a in (x, w / np.sqrt(np.prod(w_shape[:3])), b, dy)]
    for a in found:
        a.flags.writeable = False
    return found


def wanted(x, w, b, dy, options):
    """y, dx, dw, db by the definition in float64."""
    y, cache = conv2d.forward.definition(*(a.astype("float64") for a in (x, w, b)), **options)
    return y, *conv2d.backward.definition(dy.astype("float64"), cache)


def computed(x, w, b, dy, options):
    """y, dx, dw, db by the kernels."""
    with dispatch.using("strict"):
        y, cache = conv2d.forward(x, w, b, **options)
        return y, *conv2d.backward(dy, cache)


def assert_close(got, want):
    for name, g, v, tolerance in zip(("y", "dx", "dw", "db"), got, want, (5e-6, 1e-5, 1e-5, 1e-5), strict=True):
        assert (g.shape, g.dtype) == (v.shape, np.float32), name
        np.testing.assert_allclose(g, v, rtol=0, atol=tolerance * np.abs(v).max(initial=0), err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_every_convolution_of_the_models(name):
    for case in shapes_of(name):
        given = arrays(*case)
        assert_close(computed(*given, case[2]), wanted(*given, case[2]))


@every_shape
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_odd_shapes(shape, w_shape, options, batch):
    given = arrays(shape, w_shape, options, batch)
    assert_close(computed(*given, options), wanted(*given, options))


@every_shape
def test_arrays_with_strides(shape, w_shape, options):
    x, w, b, dy = arrays(shape, w_shape, options)
    want = wanted(x, w, b, dy, options)
    wide = np.full((2 * BATCH, shape[0] + 3, 2 * shape[1], shape[2] + 5), np.nan, "float32")
    for view in (
        wide[::2, 3:, ::2, 5:],
        wide[-1::-2, shape[0] - 1 :: -1, -1::-2, : shape[2]],
        wide[:BATCH, 3:, 1::2, :0:-1],
    ):
        view = view[..., : shape[2]]
        view[:] = x
        assert_close(computed(view, w, b, dy, options), want)
    turned = np.asfortranarray(x), np.asfortranarray(w), np.repeat(b, 2)[::2], np.asfortranarray(dy)
    assert_close(computed(*turned, options), want)
    cut = np.repeat(dy, 2, axis=2)[:, :, ::2]
    assert_close(computed(x, w, b, cut, options), want)


def test_without_bias_and_without_the_gradient_of_x():
    x, w, b, dy = arrays((9, 8, 16), (3, 3, 16, 32), {})
    with dispatch.using("strict"):
        y, cache = conv2d.forward(x, w)
        dx, dw, db = conv2d.backward(dy, cache, input_gradient=False)
    want = wanted(x, w, 0 * b, dy, {})
    assert dx is None
    assert db is None
    assert_close((y, want[1].astype("float32"), dw, want[3].astype("float32")), want)


def test_other_dtypes_are_declined():
    x, w, b, dy = arrays((9, 8, 4), (3, 3, 4, 8), {})
    _, cache = conv2d.forward(x, w, b)
    mixed = (x.astype("float64"), w, b), (x, w.astype("float64"), b), (x, w, b.astype("float16"))
    assert all(conv2d_numba.forward(*given) is NotImplemented for given in mixed)
    assert conv2d_numba.backward(dy.astype("float64"), cache) is NotImplemented


@pytest.mark.parametrize(
    "algorithm", [row for row in conv2d_numba.TABLE if row.kind != "depthwise"], ids=lambda r: r.name
)
def test_any_forward_goes_with_any_backward(algorithm, monkeypatch):
    """The definition's cache feeds the kernels and the reverse, whichever algorithm is chosen."""
    monkeypatch.setattr(conv2d_numba, "_choose", lambda *_: algorithm)
    options = {"padding": 1}
    x, w, b, dy = arrays((11, 10, 16), (3, 3, 16, 16), options)
    want = wanted(x, w, b, dy, options)
    for forward, backward in itertools.product((conv2d_numba, conv2d), repeat=2):
        y, cache = getattr(forward.forward, "definition", forward.forward)(x, w, b, **options)
        assert_close((y, *getattr(backward.backward, "definition", backward.backward)(dy, cache)), want)


@every_shape
def test_one_thread_and_two(shape, w_shape, options):
    """Right answers with any number of threads, and the same bits with the same number."""
    given = arrays(shape, w_shape, options, batch=2)
    want = wanted(*given, options)
    before = numba.get_num_threads()
    try:
        for count in range(1, before + 1):
            numba.set_num_threads(count)
            assert threads.count() == count
            first, second = computed(*given, options), computed(*given, options)
            assert_close(first, want)
            assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    finally:
        numba.set_num_threads(before)


@every_shape
def test_not_a_number_comes_through(shape, w_shape, options):
    """A NaN in x reaches the y of its windows, one in dy the dx of its window, dw and db of its channel."""
    x, w, b, dy = (np.array(a) for a in arrays(shape, w_shape, options))
    x[1, shape[0] // 2, shape[1] // 2, 0] = dy[1, dy.shape[1] // 2, dy.shape[2] // 2, -1] = np.nan
    for g, v in zip(computed(x, w, b, dy, options), wanted(x, w, b, dy, options), strict=True):
        assert np.isnan(g[np.isnan(v)]).all()
        assert np.isnan(v).any() == np.isnan(g).any()


@pytest.mark.parametrize(("activation", "slope"), [("none", 0.01), ("relu", 0.01), ("leaky_relu", 0.2)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("shape", "w_shape", "options"),
    [
        ((12, 12, 16), (3, 3, 16, 70), {"padding": 1}),
        ((9, 40, 1), (5, 5, 1, 20), {}),
        ((9, 7, 6), (3, 3, 3, 8), {"stride": 2, "groups": 2}),
        ((9, 7, 19), (3, 3, 1, 19), {"padding": 1, "groups": 19}),
    ],
)
def test_activation_and_scale_in_the_same_pass(shape, w_shape, options, activation, slope, bias, scaled):
    x, w, b, dy = arrays(shape, w_shape, options)
    scale = np.linspace(-2, 2, w_shape[3], dtype="float32") if scaled else None
    given, options = (x, w, b if bias else None, scale), options | {"activation": activation, "slope": slope}
    with dispatch.using("strict"):
        y, cache = conv2d_act.forward(*given, **options)
        got = conv2d_act.backward(dy, cache)
    exact = [None if a is None else a.astype("float64") for a in given]
    wanted_y, exact_cache = conv2d_act.forward.definition(*exact, **options)
    mask = exact_cache._replace(y=y.astype("float64"))  # where z is almost 0 its sign may differ
    want = conv2d_act.backward.definition(dy.astype("float64"), mask)
    for g, v, tolerance in zip((y, *got), (wanted_y, *want), (5e-6, *[1e-5] * 4), strict=True):
        assert (g is None) == (v is None)
        if v is not None:
            np.testing.assert_allclose(g, v, rtol=0, atol=tolerance * np.abs(v).max())
    with dispatch.using("strict"):
        assert conv2d_act.backward(dy, cache, input_gradient=False)[0] is None


@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("w_shape", [(3, 3, 1, 5), (1, 1, 1, 5)])
@pytest.mark.parametrize("width", [6, 15])
def test_infinities_and_nan_pass_the_activation_as_in_the_definition(activation, w_shape, width):
    x = np.ones((1, 9, width, 1), "float32")
    x[0, 4, 2:5, 0] = np.inf, -np.inf, np.nan
    w = np.ones(w_shape, "float32")
    y, _ = conv2d_act.forward(x, w, activation=activation)
    want, _ = conv2d_act.forward.definition(x, w, activation=activation)
    assert np.array_equal(y, want, equal_nan=True)


def test_explain_names_the_table():
    names = {row.name for row in conv2d_numba.TABLE}
    found = conv2d_numba.explain((64, 22, 22, 64), (3, 3, 64, 64), padding=1)
    assert found.keys() == {"forward", "backward_data", "backward_weight"}
    assert set(found.values()) <= names
    assert set(conv2d_numba.explain((64, 48, 48, 1), (5, 5, 1, 32), padding=2).values()) == {"taps", "rows"}
    assert set(conv2d_numba.explain((64, 9, 9, 8), (3, 3, 1, 8), groups=8).values()) == {"depthwise"}
    with pytest.raises(ValueError, match="does not fit"):
        conv2d_numba.explain((1, 2, 2, 1), (3, 3, 1, 1))
