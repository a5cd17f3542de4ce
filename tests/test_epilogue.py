"""The fused ops are their parts, one after the other, to the last bit; and gradients that may be left out."""

import itertools

import numpy as np
import pytest

from minicnn import ops
from minicnn.ops import epilogue
from minicnn.ops.epilogue import Spec

ACTIVATIONS, NORMS, POOLS = ("none", "relu", "leaky_relu", "prelu"), ("none", "before", "after"), ("none", "max", "avg")
PARTS = list(itertools.product(ACTIVATIONS, NORMS, POOLS, (0.0, 0.4)))
WINDOWS = {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 0)}
MARGINS = (0, 1, 2, 0)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def chain(x, steps):
    """y of the ops one after the other, and backward: dy -> (dx, {op: its other gradients})."""
    caches = []
    for op, options in steps:
        x, cache = op.forward(x, **options)
        caches.append((op, cache))

    def backward(d):
        found = {}
        for op, cache in reversed(caches):
            d, *found[op] = op.backward(d, cache)
        return d, found

    return x, backward


@pytest.mark.parametrize("given", [True, False], ids=["given", "batch"])
@pytest.mark.parametrize("parts", PARTS, ids=lambda p: "-".join(map(str, p)))
def test_epilogue_is_its_parts_one_after_the_other(parts, given):
    activation, norm, pool, p = parts
    channelwise, given = pool == "max", given and norm != "none"
    options = {"relu": {}, "leaky_relu": {"slope": 0.2}, "prelu": {"alpha": normal(6, 2, seed=1)}}
    arrays = dict(zip(("gamma", "beta"), normal(2, 2, seed=2), strict=True)) if norm != "none" else {}
    arrays |= {"mean": normal(2, seed=3), "var": np.array([0.3, 2.0])} if given else {}
    bn = ops.batch_norm_inference if given else ops.batch_norm
    act = [] if activation == "none" else [(getattr(ops, activation), options[activation])]
    normalize = [(bn, arrays | {"eps": 1e-3})] if norm != "none" else []
    steps = [*normalize, *act] if norm == "before" else [*act, *normalize]
    steps += [(ops.zero_pad2d, {"padding": MARGINS})]
    steps += [(getattr(ops, f"{pool}_pool2d"), WINDOWS)] if pool != "none" else []
    steps += [(ops.dropout, {"p": p, "rng": 9, "channelwise": channelwise})] if p else []
    x = normal(3, 5, 6, 2)
    want, back = chain(x, steps)
    arrays |= {"alpha": options["prelu"]["alpha"]} if activation == "prelu" else {}
    spec = Spec(activation, 0.2, norm, 1e-3, MARGINS, pool, *WINDOWS.values(), p=p, channelwise=channelwise)
    y, cache = epilogue.forward(x, **arrays, spec=spec, key=9)
    assert np.array_equal(y, want)
    dy = normal(*y.shape, seed=4)
    wanted_dx, found = back(dy)
    dx, dalpha, dgamma, dbeta, *rest = epilogue.backward(dy, cache)
    assert np.array_equal(dx, wanted_dx)
    assert rest == [None, None]
    assert cache.batch_statistics == (norm != "none" and not given)
    wanted = (*found.get(ops.prelu, [None]), *found.get(bn, [None, None]))
    for got, want in zip((dalpha, dgamma, dbeta), wanted, strict=True):
        assert got is want is None or np.array_equal(got, want)


@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("bias", [True, False])
def test_conv2d_act_is_its_parts_one_after_the_other(activation, bias):
    x, w, b = normal(2, 5, 6, 2), normal(3, 2, 2, 4), normal(4) if bias else None
    options = {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2)}
    slope = {"slope": 0.3} if activation == "leaky_relu" else {}
    steps = [(ops.conv2d, {"w": w, "b": b} | options)]
    steps += [(getattr(ops, activation), slope)] if activation != "none" else []
    want, back = chain(x, steps)
    y, cache = ops.conv2d_act.forward(x, w, b, activation=activation, **slope, **options)
    assert np.array_equal(y, want)
    dy = normal(*y.shape, seed=4)
    dx, found = back(dy)
    for got, want in zip(ops.conv2d_act.backward(dy, cache), (dx, *found[ops.conv2d], None), strict=True):
        assert got is want is None or np.array_equal(got, want)


IMAGES = (2, 4, 5, 3), (2, 2, 3, 2)
VECTORS = (4, 3), (3, 2)


@pytest.mark.parametrize(("op", "shapes"), [(ops.linear, VECTORS), (ops.conv2d, IMAGES), (ops.conv2d_act, IMAGES)])
def test_the_gradient_of_the_input_may_be_left_out(op, shapes):
    x, w, b = (normal(*shape) for shape in (*shapes, (2,)))
    y, cache = op.forward(x, w, b)
    whole, left_out = op.backward(y, cache), op.backward(y, cache, input_gradient=False)
    assert whole[0].shape == x.shape
    assert left_out[0] is None
    assert np.array_equal(left_out[1], whole[1])
    assert np.array_equal(left_out[2], whole[2])
