"""The CPU kernels of the linear layer against the float64 definition."""

import numpy as np
import pytest

from minicnn import dispatch
from minicnn.ops import linear

SHAPES = (  # x, outputs
    ((64, 2304), 1024),
    ((64, 512), 7),
    ((1, 1000), 512),
    ((1, 1), 1),
    ((3, 7), 13),
    ((900, 65), 33),
    ((17, 3), 130),
    ((2, 3, 5), 4),
    ((4, 1, 2, 70), 65),
    ((256, 100), 300),
    ((0, 5), 3),
    ((3, 0), 4),
    ((4, 5), 0),
)
LAYOUTS = {
    "as they are": lambda a: a,
    "every second entry": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "columns of a wider array": lambda a: np.concatenate([a, a], -1)[..., : a.shape[-1]],
    "transposed": lambda a: a.T.copy().T,
}
every_shape = pytest.mark.parametrize(("shape", "outputs"), SHAPES, ids=str)


def arrays(shape, outputs, layout=LAYOUTS["as they are"]):
    """x, w, b, dy: float32, read-only."""
    rng = np.random.default_rng(0)
    sizes = shape, (shape[-1], outputs), (outputs,), (*shape[:-1], outputs)
    found = [layout(rng.standard_normal(s, "float32")) for s in sizes]
    for a in found:
        a.flags.writeable = False
    return found


def wanted(x, w, b, dy):
    """y, dx, dw, db by the definition in float64."""
    y, cache = linear.forward.definition(*(None if a is None else a.astype("float64") for a in (x, w, b)))
    return y, *linear.backward.definition(dy.astype("float64"), cache)


def computed(x, w, b, dy):
    with dispatch.using("strict"):
        y, cache = linear.forward(x, w, b)
        return y, *linear.backward(dy, cache)


def close(got, want, terms):
    """Every entry within the rounding of a sum of so many products."""
    assert (got.shape, got.dtype) == (want.shape, "float32")
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=2e-6 * max(terms, 1) ** 0.5)


def compare(x, w, b, dy):
    terms = x.shape[-1], w.shape[1], x.size // max(x.shape[-1], 1), 0
    for got, want, n in zip(computed(x, w, b, dy), wanted(x, w, b, dy), terms, strict=True):
        if want is None:
            assert got is None
        else:
            close(got, want, n)


@every_shape
def test_every_shape(shape, outputs):
    compare(*arrays(shape, outputs))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "outputs"), [((7, 20), 35), ((2, 3, 5), 4), ((1, 3), 1)])
def test_every_layout(shape, outputs, layout):
    compare(*arrays(shape, outputs, LAYOUTS[layout]))


def test_without_bias():
    x, w, _, dy = arrays((5, 6), 7)
    compare(x, w, None, dy)


@every_shape
def test_without_the_gradient_of_the_input(shape, outputs):
    x, w, b, dy = arrays(shape, outputs)
    with dispatch.using("strict"):
        _, cache = linear.forward(x, w, b)
        dx, dw, db = linear.backward(dy, cache, input_gradient=False)
        _, dw_too, db_too = linear.backward(dy, cache)
    assert dx is None
    assert np.array_equal(dw, dw_too)
    assert np.array_equal(db, db_too)


@every_shape
def test_forward_and_backward_of_kernel_and_definition_fit_each_other(shape, outputs):
    x, w, b, dy = arrays(shape, outputs)
    for forward, backward in (
        (linear.forward, linear.backward.definition),
        (linear.forward.definition, linear.backward),
    ):
        _, cache = forward(x, w, b)
        for got, want, n in zip(
            backward(dy, cache), wanted(x, w, b, dy)[1:], (outputs, dy.size // max(outputs, 1), 0), strict=True
        ):
            close(got, want, n)


def test_the_gradient_of_the_bias_is_summed_in_double_precision():
    dy = np.array([[1e8], [1], [-1e8]], "float32")
    with dispatch.using("strict"):
        _, cache = linear.forward(np.ones((3, 1), "float32"), np.ones((1, 1), "float32"), np.ones(1, "float32"))
        assert linear.backward(dy, cache)[2] == 1


def test_nan_comes_through():
    x, w, b, dy = arrays((8, 9), 10)
    x = x.copy()
    x[2, 3] = np.nan
    y, _, dw, _ = computed(x, w, b, dy)
    assert np.isnan(y[2]).all()
    assert np.isfinite(np.delete(y, 2, 0)).all()
    assert np.isnan(dw[3]).all()


@pytest.mark.parametrize("odd", range(3))
def test_other_dtypes_are_left_to_the_definition(odd):
    *arguments, _ = arrays((5, 6), 7)
    arguments[odd] = arguments[odd].astype("float64")
    with dispatch.using("strict"), pytest.raises(RuntimeError, match=r"linear.forward: .* declined .*float64"):
        linear.forward(*arguments)
    assert linear.forward(*arguments)[0].dtype == "float64"


def test_the_error_messages_are_the_definitions():
    x, w, b, dy = arrays((5, 6), 7)
    with dispatch.using("strict"):
        with pytest.raises(ValueError, match=r"linear: x \(5, 6\) \(\.\.\., in\) does not fit w \(7, 6\)"):
            linear.forward(x, w.T, b)
        with pytest.raises(ValueError, match=r"linear: b has shape \(6,\), wanted \(7,\)"):
            linear.forward(x, w, b[:6])
        _, cache = linear.forward(x, w, b)
        with pytest.raises(ValueError, match=r"linear.backward: dy has shape \(5, 6\), wanted \(5, 7\)"):
            linear.backward(dy[:, :6], cache)
