"""Properties of the ops whose shapes have rules: convolution, pooling and normalisation, for shapes nobody chose.

The definitions here are plain loops over the equations, and know nothing of im2col.  With CI in the environment
Hypothesis draws the same examples at every run.
"""

import itertools
import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import gradcheck, ops
from minicnn.ops.windows import col2im, im2col, slide

examples = settings(max_examples=150, deadline=None, derandomize=bool(os.environ.get("CI")))
seeds = st.integers(0, 2**32).map(np.random.default_rng)
few = st.integers(1, 3)


@st.composite
def axes(draw, most_padding=lambda kernel: 3, dilations=(1, 2, 3)):
    """(W, kernel, stride, padding, dilation) of one axis on which at least one window fits."""
    kernel, stride, dilation = draw(few), draw(st.integers(1, 4)), draw(st.sampled_from(dilations))
    padding = draw(st.integers(0, most_padding(kernel)))
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    return draw(st.integers(least, least + 4)), kernel, stride, padding, dilation


@st.composite
def geometries(draw, **options):
    """The same for both axes: five pairs."""
    return tuple(zip(draw(axes(**options)), draw(axes(**options)), strict=True))


pool_geometries = geometries(most_padding=lambda kernel: kernel // 2, dilations=(1,))


def count(W, kernel, stride, padding, dilation, ceil_mode=False):
    """How many windows there are, by placing one after the other."""
    end = W + 2 * padding
    n = 0
    while n * stride + dilation * (kernel - 1) < end:
        n += 1
    hangs_over = (n - 1) * stride + dilation * (kernel - 1) < end - 1  # what the last one leaves is worth another
    return n + 1 if ceil_mode and hangs_over and n * stride < W + padding else n


def close(got, want, tolerance=1e-10):
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(np.abs(want).max(initial=0), 1))


@examples
@given(geometries(), few, few)
def test_output_size_of_convolution(geometry, N, C_out):
    image, kernel, stride, padding, dilation = geometry
    y, _ = ops.conv2d.forward(
        np.zeros((N, *image, 2)), np.zeros((*kernel, 2, C_out)), stride=stride, padding=padding, dilation=dilation
    )
    assert y.shape == (N, *itertools.starmap(count, zip(*geometry, strict=True)), C_out)


@examples
@given(geometries(), st.sampled_from([(1, 2, 3), (2, 1, 1), (3, 1, 2)]), st.integers(1, 2), seeds)
def test_convolution_is_its_equation(geometry, groups, N, rng):
    (image, kernel, stride, padding, dilation), (G, c, o) = geometry, groups
    x, w, b = rng.normal(size=(N, *image, G * c)), rng.normal(size=(*kernel, c, G * o)), rng.normal(size=G * o)
    y, _ = ops.conv2d.forward(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=G)
    want = np.zeros_like(y)
    for n, u, v, out in np.ndindex(y.shape):
        first = out // o * c  # of the channels that this output sees
        want[n, u, v, out] = b[out]
        for i, j in np.ndindex(kernel):
            row, column = (
                at * s + tap * d - p for at, s, tap, d, p in zip((u, v), stride, (i, j), dilation, padding, strict=True)
            )
            if 0 <= row < image[0] and 0 <= column < image[1]:
                want[n, u, v, out] += x[n, row, column, first : first + c] @ w[i, j, :, out]  # (1) of conv2d
    close(y, want)


@examples
@given(geometries(), st.sampled_from([(1, 2, 3), (2, 1, 1), (3, 1, 2)]), st.integers(1, 2), seeds)
def test_gradients_of_convolution_are_its_transposes(geometry, groups, N, rng):
    """conv2d is linear in x, in w and in b, so <conv2d(v), dy> = <v, gradient> for every v, with no step to choose."""
    (image, kernel, stride, padding, dilation), (G, c, o) = geometry, groups
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": G}
    x, w, b = rng.normal(size=(N, *image, G * c)), rng.normal(size=(*kernel, c, G * o)), rng.normal(size=G * o)
    y, cache = ops.conv2d.forward(x, w, b, **options)
    dy = rng.normal(size=y.shape)
    dx, dw, db = ops.conv2d.backward(dy, cache)
    vx, vw, vb = (rng.normal(size=a.shape) for a in (x, w, b))
    close((ops.conv2d.forward(vx, w, **options)[0] * dy).sum(), (vx * dx).sum())
    close((ops.conv2d.forward(x, vw, **options)[0] * dy).sum(), (vw * dw).sum())
    close((vb * dy).sum(), (vb * db).sum())


@examples
@given(geometries(), few, few, st.integers(1, 2), seeds)
def test_im2col_and_col2im_are_adjoint(geometry, groups, c, N, rng):
    image, kernel, stride, padding, dilation = geometry
    windows = slide("test", image, kernel, stride, padding, dilation)
    x = rng.normal(size=(N, *image, groups * c))
    columns = im2col(x, windows, groups)
    D = rng.normal(size=columns.shape)
    back = col2im(D, windows, N)
    assert back.shape == x.shape
    close((columns * D).sum(), (x * back).sum())


@examples
@given(geometries(dilations=(1,)), few, few, st.integers(1, 2), st.data(), seeds)
def test_transposed_convolution_is_the_adjoint_of_convolution(geometry, c_in, c_out, N, data, rng):
    _, kernel, stride, padding, _ = geometry
    extra = tuple(data.draw(st.integers(0, s - 1)) for s in stride)
    # the smallest image x whose y has at least one pixel, and a little more
    least = [
        max(1, -(-(1 + 2 * p - k - a) // s) + 1) for k, s, p, a in zip(kernel, stride, padding, extra, strict=True)
    ]
    x = rng.normal(size=(N, *(data.draw(st.integers(h, h + 3)) for h in least), c_in))
    w = rng.normal(size=(*kernel, c_out, c_in))
    y, cache = ops.conv_transpose2d.forward(x, w, stride=stride, padding=padding, output_padding=extra)
    z = rng.normal(size=y.shape)
    Az, _ = ops.conv2d.forward(z, w, stride=stride, padding=padding)
    assert Az.shape == x.shape
    close((Az * x).sum(), (z * y).sum())
    dx, dw, db = ops.conv_transpose2d.backward(z, cache)
    assert db is None
    close(dx, Az)
    v = rng.normal(size=w.shape)
    moved, _ = ops.conv_transpose2d.forward(x, v, stride=stride, padding=padding, output_padding=extra)
    close((moved * z).sum(), (v * dw).sum())


def entries(geometry, u, v):
    """(row, column) of the pixels of the image that window (u, v) holds, row by row."""
    image, kernel, stride, padding, _ = geometry
    rows, columns = (
        [q for q in range(at * s - p, at * s - p + k) if 0 <= q < W]
        for W, k, s, p, at in zip(image, kernel, stride, padding, (u, v), strict=True)
    )
    return list(itertools.product(rows, columns))


def padded_entries(geometry, u, v):
    """How many places of the padded image window (u, v) holds."""
    image, kernel, stride, padding, _ = geometry
    sides = zip(image, kernel, stride, padding, (u, v), strict=True)
    return np.prod([min(at * s + k, W + 2 * p) - at * s for W, k, s, p, at in sides])


def pool_options(geometry, ceil_mode):
    _, kernel, stride, padding, _ = geometry
    return {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}


@examples
@given(pool_geometries, st.booleans(), few, seeds)
def test_max_pooling_is_its_definition(geometry, ceil_mode, C, rng):
    x = rng.integers(-2, 3, (2, *geometry[0], C)).astype(float)  # ties, and none above the zeros around it
    y, cache = ops.max_pool2d.forward(x, **pool_options(geometry, ceil_mode))
    dy = rng.normal(size=y.shape)
    assert y.shape[1:3] == tuple(count(*axis, ceil_mode) for axis in zip(*geometry, strict=True))
    want_y, want_dx = np.zeros_like(y), np.zeros_like(x)
    for n, u, v, c in np.ndindex(y.shape):
        best = max(entries(geometry, u, v), key=lambda at: x[n, *at, c])  # the first of equals
        want_y[n, u, v, c] = x[n, *best, c]
        want_dx[n, *best, c] += dy[n, u, v, c]
    assert np.array_equal(y, want_y)
    close(ops.max_pool2d.backward(dy, cache)[0], want_dx)


@examples
@given(pool_geometries, st.booleans(), st.booleans(), few, seeds)
def test_average_pooling_is_its_definition(geometry, ceil_mode, count_include_pad, C, rng):
    x = rng.normal(size=(2, *geometry[0], C))
    y, cache = ops.avg_pool2d.forward(x, **pool_options(geometry, ceil_mode), count_include_pad=count_include_pad)
    dy = rng.normal(size=y.shape)
    assert y.shape[1:3] == tuple(count(*axis, ceil_mode) for axis in zip(*geometry, strict=True))
    want_y, want_dx = np.zeros_like(y), np.zeros_like(x)
    for u, v in np.ndindex(y.shape[1:3]):
        held = entries(geometry, u, v)
        divisor = padded_entries(geometry, u, v) if count_include_pad else len(held)
        for row, column in held:
            want_y[:, u, v] += x[:, row, column] / divisor
            want_dx[:, row, column] += dy[:, u, v] / divisor
    close(y, want_y)
    close(ops.avg_pool2d.backward(dy, cache)[0], want_dx)


@st.composite
def norms(draw):
    """(op, options, shape of x, how x is regrouped into (sets, values of a set))."""
    name = draw(st.sampled_from(["batch_norm", "layer_norm", "group_norm"]))
    G, c = draw(few), draw(few)
    shape = (draw(few), *draw(st.lists(few, max_size=3)), G * c)
    if name == "batch_norm":
        return name, {}, shape, lambda x: x.reshape(-1, x.shape[-1]).T
    if name == "layer_norm":
        return name, {}, shape, lambda x: x.reshape(-1, x.shape[-1])
    return name, {"groups": G}, shape, lambda x: np.moveaxis(x.reshape(len(x), -1, G, c), 2, 1).reshape(len(x) * G, -1)


several = norms().filter(lambda norm: norm[3](np.zeros(norm[2])).shape[1] >= 3)  # fewer values are 0 or ±1 once normal


@examples
@given(several, st.floats(-100, 100), seeds)
def test_norms_give_mean_0_and_variance_1_and_a_gradient_across_both(norm, offset, rng):
    name, options, shape, sets = norm
    op, x = getattr(ops, name), rng.normal(offset, 3, shape)
    gamma, beta = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    y, cache = op.forward(x, gamma, beta, **options, eps=1e-12)
    x_hat = sets((y - beta) / gamma)
    close(x_hat.mean(1), np.zeros(len(x_hat)), 1e-7)
    close(x_hat.var(1), np.ones(len(x_hat)), 1e-7)
    dx = sets(op.backward(rng.normal(size=shape), cache)[0])
    size = np.abs(dx).max()
    close(dx.sum(1) / size, np.zeros(len(dx)), 1e-7)
    close((dx * x_hat).sum(1) / size, np.zeros(len(dx)), 1e-6)


@examples
@given(several, seeds)
def test_gradients_of_norms_along_a_direction(norm, rng):
    name, options, shape, _ = norm
    inputs = rng.normal(size=shape), rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    gradcheck(getattr(ops, name), inputs, kwargs={**options, "eps": 0.1})
