"""The definitions, the layers and the optimisers run on CuPy's arrays: shown with a stand-in that computes with NumPy.

They ask for no name and no argument that CuPy lacks, never mix host and device arrays, and find what they find on
NumPy's arrays.  They wait for the device in two places: cross_entropy looks whether its classes are in 0..K-1, for a
class that is not would otherwise spoil the gradient in silence; and a loss is a Python float.
"""

import contextlib

import numpy as np
import pytest

pytest.importorskip("cupy", reason="the stand-in takes its names and signatures from CuPy")
import strictcupy
from strictcupy import no_sync

from minicnn import dispatch, models, nn, optim
from minicnn.cases import CASES

every_sample = pytest.mark.parametrize(
    ("case", "sample"), [pytest.param(c, s, id=f"{c}-{k}") for c in CASES.values() for k, s in enumerate(c.samples)]
)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}  # other strides, other order of summation


@pytest.fixture
def xp():
    """The stand-in, found wherever CuPy is looked for; kernels beside the definitions do not run."""
    with strictcupy.installed() as xp, dispatch.using("reference"):
        yield xp


def moved(x, move, dtype):
    """x with its NumPy arrays moved, those of floating-point numbers in this dtype."""
    if isinstance(x, dict):
        return {name: moved(value, move, dtype) for name, value in x.items()}
    return move(x.astype(dtype) if x.dtype.kind == "f" else x) if isinstance(x, np.ndarray) else x


def run(case, inputs, options, dy):
    """([y, every gradient], what the cache holds)."""
    waits = case.name == "cross_entropy" and inputs["target"].dtype.kind == "i"
    with contextlib.nullcontext() if waits else no_sync():
        y, cache = case.op.forward(*inputs.values(), **options)
    with no_sync():
        return [y, *case.op.backward(dy, cache)], tuple(cache)


@every_sample
@both_dtypes
def test_every_sample_of_every_op(case, sample, dtype, xp):
    inputs = sample.inputs(np.random.default_rng(0))
    y, _ = case.op.forward(*inputs.values(), **sample.kwargs)
    dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape))
    (host, _), (device, cache) = (
        run(case, *(moved(a, move, dtype) for a in (inputs, dict(sample.kwargs), dy)))
        for move in (np.array, xp.asarray)
    )
    assert not any(isinstance(kept, np.ndarray) for kept in cache), "the cache holds a host array"
    same(device, host, xp, dtype)


def same(device, host, xp, dtype):
    """What was found on the device is there, and equals what was found on the host."""
    for found, want in zip(device, host, strict=True):
        if want is None:
            assert found is None
            continue
        assert type(found) is xp.ndarray
        assert (found.shape, found.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(found.get(), want, rtol=0, atol=TOLERANCE[dtype] * np.abs(want).max(initial=1e-30))


MODULES = {
    "leaky_bn_cnn": lambda: models.leaky_bn_cnn(input_size=16, width=0.1, rng=0),
    "Ensemble": lambda: models.Ensemble(
        [
            models.mini_xception(input_size=16, width=0.5, rng=0),
            models.resnet18_fer(input_size=16, width=0.05, rng=1),
        ],
        [1, 3],
    ),
    "DenseBlock": lambda: nn.Sequential(nn.DenseBlock(1, 2, 3, rng=0), nn.GlobalAvgPool2d(), nn.Linear(7, 7, rng=1)),
    "Residual": lambda: nn.Sequential(
        nn.Residual(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.PReLU(4)), nn.Conv2d(1, 4, 1, rng=1)),
        nn.Residual(nn.GroupNorm(2, 4)),
        nn.Concat(nn.AvgPool2d(2), nn.Sequential(nn.LayerNorm(4), nn.MaxPool2d(2))),
        nn.ConvTranspose2d(8, 3, 2, stride=2, rng=2),
        nn.ZeroPad2d((1, 0, 0, 1)),
        nn.Dropout2d(0.3, rng=3),
        nn.Flatten(),
        nn.BatchNorm1d(17 * 17 * 3),
        nn.Linear(17 * 17 * 3, 7, rng=4),
    ),
}
OPTIMISERS = [name for name in optim.__all__ if name not in ("EMA", "Optimizer", "clip_grad_norm_")]
OPTIONS = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "RMSprop": {"centered": True, "momentum": 0.9},
}


def batch(move, dtype):
    rng = np.random.default_rng(0)
    return move(rng.random((4, 16, 16, 1), dtype)), move(rng.integers(0, 7, 4))


def both_places(name, dtype):
    """(the model on the stand-in, its twin on the host)."""
    return MODULES[name]().astype(dtype).to("cuda"), MODULES[name]().astype(dtype)


def one_step(model, x, target, optimizer):
    """[loss, logits, dx, every gradient, every array of the state] of one step of training."""
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    with no_sync():
        logits = model(x)
    value = loss(logits, target)  # waits: the classes are checked, and a loss is a float
    with no_sync():
        dx = model.backward(loss.backward())
        gradients = [p.grad for p in model.parameters()]
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.step()  # once more, from the state that the first has left
    return value, [logits, dx, *gradients, *model.state_dict().values()]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", MODULES)
@both_dtypes
def test_a_step_of_training(name, optimiser, dtype, xp):
    device, host = both_places(name, dtype)
    options = OPTIONS.get(optimiser, {})
    results = [
        one_step(model, *batch(move, dtype), getattr(optim, optimiser)(model.parameters(), lr=0.01, **options))
        for model, move in ((device, xp.asarray), (host, np.array))
    ]
    assert results[0][0] == pytest.approx(results[1][0], rel=10 * TOLERANCE[dtype])
    same(results[0][1], results[1][1], xp, dtype)


@pytest.mark.parametrize("name", MODULES)
@both_dtypes
def test_evaluation_and_its_backward(name, dtype, xp):
    device, host = both_places(name, dtype)
    results = []
    for model, move in ((device, xp.asarray), (host, np.array)):
        x, _ = batch(move, dtype)
        model(x)  # moves the running statistics
        model.eval()
        with nn.record(), no_sync():
            y = model(x)
            results.append([y, model.backward(y), *(p.grad for p in model.parameters())])
    same(*results, xp, dtype)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss(reduction="sum"), nn.CrossEntropyLoss()], ids=repr)
def test_losses(loss, xp):
    rng = np.random.default_rng(0)
    pair = rng.normal(size=(4, 5)), rng.dirichlet(np.ones(5), 4)
    found = loss(*map(xp.asarray, pair))  # waits: a loss is a float
    with no_sync():
        dx = loss.backward()
    assert found == loss(*pair)
    same([dx], [loss.backward()], xp, "float64")


def test_a_model_comes_home_with_its_state(xp):
    device, host = both_places("leaky_bn_cnn", "float32")
    assert all(type(a) is xp.ndarray for a in device.state_dict().values())
    home = device.to("cpu").state_dict()
    for key, array in host.state_dict().items():
        assert type(home[key]) is np.ndarray
        assert np.array_equal(home[key], array)
    loaded = MODULES["leaky_bn_cnn"]().to("cuda")
    loaded.load_state_dict(home)
    assert all(type(a) is xp.ndarray for a in loaded.state_dict().values())
