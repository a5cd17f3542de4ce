"""The CPU kernels of activations, softmax, losses and norms against the float64 definitions."""

import importlib
from itertools import product

import numpy as np
import pytest

from minicnn import dispatch

SHAPES = ((3, 5), (1, 1), (2, 3, 4, 16), (37, 1009), (0, 4), (130, 257))
VECTORS = {"x": lambda s, rng: 3 * rng.standard_normal(s)}
AFFINE = VECTORS | {k: lambda s, rng: rng.standard_normal(s[-1]) for k in ("gamma", "beta")}
IMAGES = ((5, 9, 7, 33), (0, 2, 2, 3), (1, 1, 1, 1), (16, 24, 24, 20))
GROUPS = ((2, 5, 6), (0, 3, 6), (1, 7, 9, 12), (16, 24, 24, 24))


def logits(target):
    return {"logits": VECTORS["x"], "target": target}


def labels(s, rng):
    return rng.integers(0, s[1], s[0])


def distributions(s, rng):
    return rng.dirichlet(np.ones(s[1]), s[0])


ROWS = tuple(s for s in SHAPES if len(s) == 2)
WEIGHTS = logits(labels) | {"weight": lambda s, rng: rng.random(s[1])}
TABLE = (  # op, inputs, keyword arguments, shapes
    *(
        (name, VECTORS, {}, SHAPES)
        for name in ("gelu", "sigmoid", "silu", "softplus", "tanh", "softmax", "log_softmax")
    ),
    ("elu", VECTORS, {"alpha": 0.7}, SHAPES),
    ("gelu", VECTORS, {"approximate": True}, SHAPES),
    ("layer_norm", AFFINE, {"eps": 1e-3}, SHAPES),
    ("group_norm", AFFINE, {"groups": 3}, GROUPS),
    ("global_avg_pool2d", VECTORS, {}, IMAGES),
    *(
        ("cross_entropy", logits(t), {"reduction": r}, ROWS)
        for t, r in product((labels, distributions), ("sum", "none"))
    ),
    ("cross_entropy", WEIGHTS, {"reduction": "none", "label_smoothing": 0.1}, ROWS),
    ("cross_entropy", WEIGHTS, {"label_smoothing": 0.1}, [s for s in ROWS if s[0]]),
)
LAYOUTS = {
    "as it is": lambda a: a,
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "every second entry": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "transposed": lambda a: a.T.copy().T,
}
every_row = pytest.mark.parametrize(
    ("name", "inputs", "kwargs", "shape"),
    [
        pytest.param(name, inputs, kwargs, s, id=f"{name}-{'-'.join(map(str, (*inputs, *kwargs.values())))}-{s}")
        for name, inputs, kwargs, shapes in TABLE
        for s in shapes
    ],
)
one_shape = pytest.mark.parametrize(
    ("name", "inputs", "kwargs", "shape"),
    [
        pytest.param(name, inputs, kwargs, shapes[0], id=f"{name}-{k}")
        for k, (name, inputs, kwargs, shapes) in enumerate(TABLE)
    ],
)


def run(name, inputs, kwargs, shape, layout=LAYOUTS["as it is"]):
    """The op's module, float32 arguments, read-only, and dy."""
    rng = np.random.default_rng(0)
    made = [np.asarray(make(shape, rng)) for make in inputs.values()]
    made = [layout(a.astype("float32") if a.dtype.kind == "f" else a) for a in made]
    op = importlib.import_module(f"minicnn.ops.{name}")
    extra = {"weight": made.pop()} if "weight" in inputs else {}
    y, _ = op.forward.definition(*made, **kwargs, **extra)
    dy = np.asarray(rng.standard_normal(np.shape(y)), "float32")
    dy = layout(dy) if dy.ndim else dy
    for a in (*made, *extra.values(), dy):
        a.flags.writeable = False
    return op, made, kwargs | extra, dy


def double(a):
    return a.astype("float64") if isinstance(a, np.ndarray) and a.dtype == "float32" else a


def exact(op, arguments, kwargs, dy):
    y, cache = op.forward.definition(*map(double, arguments), **{k: double(v) for k, v in kwargs.items()})
    return y, *op.backward.definition(double(dy), cache)


def kernels(op, arguments, kwargs, dy):
    with dispatch.using("strict"):
        y, cache = op.forward(*arguments, **kwargs)
        return y, *op.backward(dy, cache)


def compare(got, want):
    for g, w in zip(got, want, strict=True):
        assert (np.shape(g), g.dtype) == (np.shape(w), "float32")
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=2e-6 * np.abs(w).max(initial=0.1))


@every_row
def test_every_shape(name, inputs, kwargs, shape):
    case = run(name, inputs, kwargs, shape)
    compare(kernels(*case), exact(*case))


@one_shape
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(name, inputs, kwargs, shape, layout):
    case = run(name, inputs, kwargs, shape, LAYOUTS[layout])
    compare(kernels(*case), exact(*case))


@one_shape
def test_caches_of_kernel_and_definition_are_exchangeable(name, inputs, kwargs, shape):
    op, arguments, options, dy = run(name, inputs, kwargs, shape)
    want = exact(op, arguments, options, dy)[1:]
    for forward, backward in ((op.forward, op.backward.definition), (op.forward.definition, op.backward)):
        _, cache = forward(*arguments, **options)
        compare(backward(dy, cache), want)


@one_shape
def test_what_is_not_finite_comes_through(name, inputs, kwargs, shape):
    op, arguments, options, dy = run(name, inputs, kwargs, shape)
    for value in (np.nan, np.inf, -np.inf, 1e4, -1e4):
        x = arguments[0].copy()
        x[(0,) * x.ndim] = value
        with np.errstate(all="ignore"):
            for g, w in zip(
                kernels(op, [x, *arguments[1:]], options, dy), exact(op, [x, *arguments[1:]], options, dy), strict=True
            ):
                assert np.array_equal(np.isnan(g), np.isnan(w)), (value, g, w)
                np.testing.assert_allclose(
                    g, np.asarray(w, "float32"), rtol=1e-5, atol=1e-5 * np.abs(w[np.isfinite(w)]).max(initial=0)
                )


@one_shape
def test_the_same_bits_every_time(name, inputs, kwargs, shape):
    shapes = next(s for n, i, k, s in TABLE if (n, i, k) == (name, inputs, kwargs))
    case = run(name, inputs, kwargs, max(shapes, key=np.prod))
    for first, second in zip(kernels(*case), kernels(*case), strict=True):
        assert np.array_equal(first, second)


@one_shape
def test_other_dtypes_are_left_to_the_definition(name, inputs, kwargs, shape):
    op, (x, *others), options, dy = run(name, inputs, kwargs, shape)
    with dispatch.using("strict"), pytest.raises(RuntimeError, match=rf"{name}.forward: .* declined .*float64"):
        op.forward(double(x), *others, **options)
    _, cache = op.forward(double(x), *map(double, others), **options)
    if op.backward.kinds:
        with dispatch.using("strict"), pytest.raises(RuntimeError, match=rf"{name}.backward: .* declined"):
            op.backward(double(dy), cache)
