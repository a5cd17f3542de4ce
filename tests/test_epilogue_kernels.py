"""The CPU kernels of `epilogue` and of the ops that are parts of it, against their definitions in float64."""

import numba
import numpy as np
import pytest

from minicnn import ops
from minicnn.dispatch import using
from minicnn.ops import dropout, epilogue
from minicnn.ops.epilogue import Spec

LEAKY = {"activation": "leaky_relu", "slope": 0.2}
RELU = {"activation": "relu"}
PRELU = {"activation": "prelu"}
HALVES = {"pool": "max", "kernel": (2, 2), "stride": (2, 2)}
FIVES = {"margins": (2, 2, 2, 2), "pool": "max", "kernel": (5, 5), "stride": (2, 2)}
THIRDS = {"pool": "avg", "kernel": (3, 3), "stride": (2, 2)}
SPECS = [  # shape of x, of alpha, parts
    ((3, 8, 8, 32), None, {**LEAKY, "norm": "after", **HALVES}),
    ((3, 9, 7, 20), None, {**LEAKY, "norm": "after", **HALVES, "ceil_mode": True, "p": 0.3}),
    ((2, 6, 5, 48), None, {**RELU, "norm": "before", **HALVES, "p": 0.5, "channelwise": True}),
    ((2, 12, 11, 16), (12, 11, 16), {**PRELU, **FIVES}),
    ((2, 13, 9, 5), (13, 9, 5), {**PRELU, **FIVES, "norm": "after", "p": 0.2}),
    ((2, 11, 9, 17), (11, 9, 17), {**PRELU, **THIRDS}),
    ((2, 8, 9, 24), (24,), {**PRELU, **THIRDS, "margins": (1, 0, 0, 2), "norm": "before"}),
    ((2, 8, 9, 3), (1,), {**PRELU, **THIRDS, "padding": (1, 1), "ceil_mode": True, "count_include_pad": False}),
    ((2, 7, 6, 18), (7, 1, 18), {**PRELU, "norm": "before", "p": 0.4}),
    ((2, 7, 6, 18), (1, 6, 1), {**PRELU, "margins": (0, 3, 1, 0)}),
    (
        (2, 11, 12, 20),
        None,
        {**RELU, "norm": "before", "pool": "max", "kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)},
    ),
    ((2, 12, 13, 6), None, {**LEAKY, "pool": "max", "kernel": (4, 6), "stride": (1, 2), "padding": (2, 3), "p": 0.2}),
    ((2, 9, 12, 18), None, {"norm": "after", "pool": "max", "kernel": (5, 4), "stride": (3, 2), "ceil_mode": True}),
    ((2, 9, 12, 18), None, {"margins": (1, 2, 0, 1), "pool": "avg", "kernel": (5, 6), "stride": (2, 2), "p": 0.2}),
    (
        (2, 9, 11, 18),
        None,
        {**LEAKY, "norm": "after", "margins": (1, 0, 1, 1), "pool": "max", "kernel": (2, 3), "stride": (3, 3)},
    ),
    ((2, 9, 10, 16), None, {"pool": "max", "kernel": (3, 2), "stride": (1, 3), "padding": (1, 1)}),
    ((2, 10, 9, 16), None, {**RELU, "pool": "max", "kernel": (2, 3), "stride": (4, 5)}),  # pixels in no window
    ((2, 10, 9, 33), None, {"norm": "after", "pool": "avg", "kernel": (5, 9), "stride": (5, 9)}),
    ((70, 40), (40,), {**PRELU, "p": 0.5}),
    ((70, 40), (1,), {**PRELU, "norm": "after"}),
    ((33, 7), None, {**RELU, "p": 0.3, "channelwise": True}),
    ((5, 4, 21), None, {**LEAKY, "norm": "before"}),
    ((2, 5, 5, 3), None, {}),
    ((2, 5, 5, 3), None, {"p": 1.0}),
]
every_spec = pytest.mark.parametrize(("shape", "alpha", "parts"), SPECS)
every_spec_of_images = pytest.mark.parametrize(("shape", "alpha", "parts"), [s for s in SPECS if len(s[0]) == 4])


@pytest.fixture(params=[1, 2])
def threads(request):
    """So many threads, where the machine has them."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, numba.config.NUMBA_NUM_THREADS))
    yield
    numba.set_num_threads(before)


def distinct(shape, rng):
    """Numbers in -1..1, no two of them equal and none 0, in an order of their own."""
    n = int(np.prod(shape))
    return rng.permutation(np.linspace(-1, 1, n) + 0.3 / max(n, 1)).reshape(shape)


def inputs(shape, alpha, parts, seed=0, statistics=False):
    """x, alpha, gamma, beta, mean, var in float64, each a float32 number; None where the parts have none."""
    rng, C = np.random.default_rng(seed), shape[-1]
    norm = "norm" in parts
    arrays = [
        distinct(shape, rng),
        rng.uniform(0.1, 0.9, alpha) if alpha else None,
        rng.uniform(0.5, 1.5, C) if norm else None,
        rng.normal(size=C) if norm else None,
        rng.normal(0, 0.1, C) if norm and statistics else None,
        rng.uniform(0.5, 2, C) if norm and statistics else None,
    ]
    return [None if a is None else a.astype("float32").astype("float64") for a in arrays]


def single(arrays):
    """The same numbers as float32 that cannot be written."""
    out = [None if a is None else a.astype("float32") for a in arrays]
    for a in out:
        if a is not None:
            a.flags.writeable = False
    return out


def definition(op, arrays, dy=None, **kwargs):
    """y, cache and gradients of the definition in float64; dy is random unless given."""
    with using("reference"):
        y, cache = op.forward(*arrays, **kwargs)
        if dy is None:
            dy = np.random.default_rng(7).normal(size=y.shape).astype("float32").astype("float64")
        return y, cache, dy, op.backward(dy, cache)


def kernels(op, arrays, dy, **kwargs):
    """y, cache and gradients of the kernels in float32."""
    with using("strict"):
        y, cache = op.forward(*arrays, **kwargs)
        return y, cache, op.backward(dy.astype("float32"), cache)


def close(got, want, tolerance):
    if want is None:
        assert got is None
        return
    assert (got.dtype, got.shape) == (np.float32, want.shape)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(np.abs(want).max(initial=0), 1e-30))


def all_close(got, want):
    """Results of `kernels` against those of `definition`."""
    close(got[0], want[0], 5e-6)
    for g, w in zip(got[2], want[3], strict=True):
        close(g, w, 1e-5)


@every_spec
@pytest.mark.parametrize("statistics", [False, True], ids=["batch", "given"])
def test_the_kernels_are_the_definition(threads, shape, alpha, parts, statistics):
    arrays, spec = inputs(shape, alpha, parts, statistics=statistics), Spec(**parts)
    want = definition(epilogue, arrays, spec=spec, key=5)
    got = kernels(epilogue, single(arrays), want[2], spec=spec, key=5)
    all_close(got, want)
    assert got[1].windows == want[1].windows
    if want[1].argmax is not None:
        assert np.array_equal(got[1].argmax, want[1].argmax)
        assert got[1].argmax.dtype == want[1].argmax.dtype
    close(got[1].mean, want[1].mean, 1e-6)
    close(got[1].var, want[1].var, 1e-6)


@every_spec
def test_the_bits_do_not_depend_on_the_number_of_threads(shape, alpha, parts):
    arrays, spec = inputs(shape, alpha, parts), Spec(**parts)
    dy = definition(epilogue, arrays, spec=spec, key=5)[2]
    before, results = numba.get_num_threads(), []
    for count in (1, 2, 2):
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
        y, cache, gradients = kernels(epilogue, single(arrays), dy, spec=spec, key=5)
        results.append([a.tobytes() for a in (y, cache.mean, cache.var, *gradients) if a is not None])
    numba.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@every_spec
@pytest.mark.parametrize("modes", [("strict", "reference"), ("reference", "strict")])
def test_any_forward_goes_with_any_backward(shape, alpha, parts, modes):
    arrays, spec = inputs(shape, alpha, parts), Spec(**parts)
    want = definition(epilogue, arrays, spec=spec, key=5)
    with using(modes[0]):
        y, cache = epilogue.forward(*single(arrays), spec=spec, key=5)
    with using(modes[1]):
        gradients = epilogue.backward(want[2].astype("float32"), cache)
    all_close((y, cache, gradients), want)


VIEWS = {
    "channels of a wider image": lambda a: np.concatenate([a, a], -1)[..., : a.shape[-1]],
    "every other row": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "columns from right to left": lambda a: np.ascontiguousarray(a[:, :, ::-1])[:, :, ::-1],
    "channels first in memory": lambda a: np.ascontiguousarray(np.moveaxis(a, 3, 1)).transpose(0, 2, 3, 1),
    "not on a multiple of four bytes": lambda a: unaligned(a),
}


def unaligned(a):
    memory = np.zeros(a.nbytes + 1, "uint8")
    memory[1:] = np.frombuffer(a.tobytes(), "uint8")
    return np.frombuffer(memory[1:], "float32").reshape(a.shape)


@every_spec_of_images
@pytest.mark.parametrize("view", VIEWS)
def test_any_strides_give_the_same_bits(shape, alpha, parts, view):
    arrays, spec = single(inputs(shape, alpha, parts)), Spec(**parts)
    dy = definition(epilogue, inputs(shape, alpha, parts), spec=spec, key=5)[2].astype("float32")
    y, _, gradients = kernels(epilogue, arrays, dy, spec=spec, key=5)
    y_view, _, of_view = kernels(epilogue, [VIEWS[view](arrays[0]), *arrays[1:]], VIEWS[view](dy), spec=spec, key=5)
    for a, b in zip((y, *gradients), (y_view, *of_view), strict=True):
        assert a is b is None or np.array_equal(a, b)


@every_spec
def test_a_batch_of_one_and_of_none(shape, alpha, parts):
    spec = Spec(**parts)
    for size in (1, 0):
        if "norm" in parts and size * np.prod(shape[1:-1]) < 2:
            with pytest.raises(ValueError, match=r"has \d value\(s\) a channel, wanted at least 2"):
                epilogue.forward(*single(inputs((size, *shape[1:]), alpha, parts)), spec=spec)
            continue
        arrays = inputs((size, *shape[1:]), alpha, parts)
        want = definition(epilogue, arrays, spec=spec, key=5)
        all_close(kernels(epilogue, single(arrays), want[2], spec=spec, key=5), want)


@every_spec
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # inf - inf and 0 inf of the definition
def test_nan_and_infinity_come_through(shape, alpha, parts, value):
    arrays, spec = inputs(shape, alpha, parts, statistics=True), Spec(**parts)
    flat = arrays[0].reshape(-1)
    flat[[0, 1, flat.size // 2, -2]] = value
    want = definition(epilogue, arrays, spec=spec, key=5)
    got = kernels(epilogue, single(arrays), want[2], spec=spec, key=5)
    for g, w in zip((got[0], *got[2]), (want[0], *want[3]), strict=True):
        if w is not None:
            assert np.array_equal(np.isnan(g), np.isnan(w))
            assert np.array_equal(np.isposinf(g), np.isposinf(w))
            assert np.array_equal(np.isneginf(g), np.isneginf(w))


def test_ties_go_to_the_first_and_nan_to_the_last():
    x = np.zeros((1, 4, 6, 16), "float32")
    x[0, 0, 4:, :] = x[0, 1, 4, 0] = np.nan
    spec = Spec(**RELU, **HALVES)
    _, cache, _, _ = definition(epilogue, [x], spec=spec)
    _, got, _ = kernels(epilogue, [x], np.ones((1, 2, 3, 16)), spec=spec)
    assert got.argmax[0, 0, :, :2].tolist() == [[0, 0], [0, 0], [2, 1]]
    assert np.array_equal(got.argmax, cache.argmax)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6, 7])
def test_where_all_is_minus_infinity_the_first_tap_of_the_image_wins(kernel, stride):
    x = np.full((1, 9, 10, 3), -np.inf, "float32")
    spec = Spec(pool="max", kernel=(kernel, kernel), stride=(stride, stride), padding=(kernel // 2, kernel // 2))
    y, cache, dy, want = definition(epilogue, [x], spec=spec)
    got_y, got, gradients = kernels(epilogue, [x], dy, spec=spec)
    assert np.array_equal(got_y, y)
    assert np.array_equal(got.argmax, cache.argmax)
    close(gradients[0], want[0], 1e-5)


@pytest.mark.parametrize("shape", [(3, 5, 7, 18), (64, 100), (2, 3, 40)])
@pytest.mark.parametrize("key", [0, 5, 2**40 + 3, 2**64 - 1])
@pytest.mark.parametrize("channelwise", [False, True])
def test_the_mask_is_dropout_s_bit_for_bit(shape, key, channelwise):
    x = np.ones(shape, "float32")
    for p in (0.1, 0.5, 0.999):
        scale = dropout.scale(x, dropout.Cache(key, p, channelwise, shape))
        y, _, (dx, *_) = kernels(epilogue, [x], x, spec=Spec(p=p, channelwise=channelwise), key=key)
        assert np.array_equal(y, np.broadcast_to(scale, shape))
        assert np.array_equal(dx, y)


@pytest.mark.parametrize("norm", ["before", "after"])
def test_a_large_mean_does_not_swallow_the_variance(norm):
    x = (1000 + np.random.default_rng(0).normal(size=(8, 12, 12, 16))).astype("float32").astype("float64")
    arrays = [x, None, np.ones(16), np.zeros(16)]
    want = definition(epilogue, arrays, spec=Spec(norm=norm))
    got = kernels(epilogue, single(arrays), want[2], spec=Spec(norm=norm))
    close(got[1].var, want[1].var, 1e-5)
    close(got[0], want[0], 5e-5)  # μ itself is only known to 3e-8 of 1000


def test_many_blocks_lose_no_accuracy():
    arrays = inputs((40, 24, 24, 20), (20,), {"norm": "after"})
    spec = Spec(**PRELU, norm="after", **HALVES)
    want = definition(epilogue, arrays, spec=spec)
    all_close(kernels(epilogue, single(arrays), want[2], spec=spec), want)


DECLINED = {
    "float64": (Spec(**RELU), np.ones((2, 4, 4, 3)), {}),
    "alpha of another dtype": (Spec(**PRELU), np.ones((2, 4, 4, 3), "float32"), {"alpha": np.ones(3)}),
    "more taps than a byte counts": (
        Spec(pool="max", kernel=(17, 16), stride=(1, 1)),
        np.ones((1, 17, 16, 3), "float32"),
        {},
    ),
}


@pytest.mark.parametrize("what", DECLINED)
def test_declined(what):
    spec, x, others = DECLINED[what]
    with using("strict"), pytest.raises(RuntimeError, match=r"epilogue\.forward: the numba kernel declined"):
        epilogue.forward(x, **others, spec=spec)
    assert epilogue.forward(x, **others, spec=spec)[0].shape[-1] == 3


C20, C33 = np.linspace(0.1, 1, 20), np.linspace(-1, 1, 33)
SIBLINGS = [  # op, shape of x, the other arrays, keywords
    ("relu", (3, 5, 4, 3), (), {}),
    ("relu", (70,), (), {}),
    ("leaky_relu", (3, 5, 4, 3), (), {"slope": 0.2}),
    ("leaky_relu", (17, 40), (), {"slope": -0.5}),
    ("prelu", (3, 5, 4, 20), (C20,), {}),
    ("prelu", (3, 5, 4, 20), (np.linspace(0, 1, 400).reshape(5, 4, 20),), {}),
    ("prelu", (9, 20), (C20[:1],), {}),
    ("batch_norm", (3, 5, 4, 20), (C20, -C20), {"eps": 1e-3}),
    ("batch_norm", (70, 33), (C33, C33), {}),
    ("batch_norm", (2, 9, 33), (C33, C33), {}),
    ("batch_norm_inference", (3, 5, 4, 20), (C20, -C20, C20, C20), {}),
    ("batch_norm_inference", (1, 33), (C33, C33, C33, C33**2), {}),
    ("max_pool2d", (2, 9, 8, 20), (), {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1}),
    ("max_pool2d", (2, 9, 9, 3), (), {"kernel_size": 2, "ceil_mode": True}),
    ("avg_pool2d", (2, 9, 8, 20), (), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ("avg_pool2d", (2, 8, 8, 16), (), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ("global_avg_pool2d", (3, 7, 5, 33), (), {}),
    ("dropout", (3, 5, 4, 3), (), {"p": 0.4, "rng": 11}),
    ("dropout", (3, 5, 4, 20), (), {"p": 0.4, "rng": 11, "channelwise": True}),
    ("dropout", (6, 20, 5), (), {"p": 0.4, "rng": 11, "channelwise": True}),
]


@pytest.mark.parametrize(("name", "shape", "others", "kwargs"), SIBLINGS)
def test_the_ops_that_are_parts_of_it(threads, name, shape, others, kwargs):
    op = getattr(ops, name)
    for size in (shape[0], 1, 0):
        if name == "batch_norm" and size * np.prod(shape[1:-1]) < 2:
            continue
        arrays = [distinct((size, *shape[1:]), np.random.default_rng(0)), *others]
        arrays = [a.astype("float32").astype("float64") for a in arrays]
        want = definition(op, arrays, **kwargs)
        got = kernels(op, single(arrays), want[2], **kwargs)
        all_close(got, want)
        assert type(got[1]) is type(want[1])
        with using("reference"):
            gradients = op.backward(want[2].astype("float32"), got[1])
        all_close((got[0], got[1], gradients), want)


@pytest.mark.parametrize(("name", "shape", "others", "kwargs"), SIBLINGS)
def test_the_parts_decline_float64(name, shape, others, kwargs):
    op, rng = getattr(ops, name), np.random.default_rng(3)
    if name == "dropout":
        kwargs = {**kwargs, "rng": rng}
    with using("strict"), pytest.raises(RuntimeError, match=rf"{name}\.forward: the numba kernel declined float64"):
        op.forward(np.zeros(shape), *others, **kwargs)
    assert rng.integers(100) == np.random.default_rng(3).integers(100), "declined after a key had been drawn"


def test_windows_that_hang_over_the_edge_are_found_again():
    for image in range(5, 12):
        x = distinct((1, image, image + 1, 2), np.random.default_rng(0)).astype("float32")
        for ceil_mode in (False, True):
            kwargs = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": ceil_mode}
            for op in (ops.max_pool2d, ops.avg_pool2d):
                want = definition(op, [x], **kwargs)
                all_close(kernels(op, [x], want[2], **kwargs), want)
