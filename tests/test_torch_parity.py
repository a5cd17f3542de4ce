"""Live against PyTorch in float64: every row of the golden table with fresh numbers, every layer, loss and initial
weight, and a whole network through three steps of training."""

import math

import numpy as np
import pytest
from make_golden import CONSTANTS, ROWS, torch_results

torch = pytest.importorskip("torch", reason="PyTorch is what is compared with")
from torch import nn as theirs  # noqa: E402
from torch_twins import (  # noqa: E402
    LAYERS,
    back,
    close,
    copy_state,
    same_gradients,
    same_state,
    shuffled,
    their_densenet,
    their_leaky_bn_cnn,
    their_mini_xception,
    their_resnet18,
    their_vgg,
    there,
    to_torch,
)

from minicnn import models, nn, ops, optim  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Arrays this small are done before a second thread has begun."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


every_layer = pytest.mark.parametrize(
    ("ours", "torchs", "shape"), LAYERS, ids=[ours.one_line() for ours, _, _ in LAYERS]
)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_ops(row, seed):
    rng = np.random.default_rng(seed)
    inputs = row.make(rng)
    want_y, dy, want = torch_results(row, inputs, lambda shape: np.asarray(rng.normal(size=shape)))
    y, cache = getattr(ops, row.op).forward(*inputs.values(), **row.options)
    close(y, want_y)
    free = [name for name in inputs if name not in CONSTANTS]
    for name, got, expected in zip(free, getattr(ops, row.op).backward(dy, cache), want, strict=True):
        assert (got is None) == (expected is None), name
        if got is not None:
            close(got, expected)


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_layers(ours, torchs, shape, training):
    rng = np.random.default_rng(0)
    shuffled(ours, rng).train(training).zero_grad()
    copy_state(ours, torchs.double().train(training))
    torchs.zero_grad()
    x = rng.normal(size=shape)
    given = torch.tensor(x, requires_grad=True)
    y = torchs(given) if isinstance(ours, nn.Linear) else back(torchs(there(given)))
    dy = rng.normal(size=tuple(y.shape))
    y.backward(torch.tensor(dy))
    with nn.record():
        close(ours(x), y)
        close(ours.backward(dy), given.grad)
    same_gradients(ours, torchs)
    same_state(ours, torchs)


def test_every_layer_is_compared():
    layers = {v for v in vars(nn).values() if isinstance(v, type) and issubclass(v, nn.Module)}
    assert layers - {type(ours) for ours, _, _ in LAYERS} == {nn.Module}


@every_layer
def test_keys_and_shapes_of_the_state_are_pytorchs(ours, torchs, shape):
    wanted = [(k, tuple(v.shape)) for k, v in torchs.state_dict().items() if not k.endswith("num_batches_tracked")]
    assert [(k, to_torch(v).shape) for k, v in ours.state_dict().items()] == wanted


@pytest.mark.parametrize(
    ("name", "args"),
    [("BatchNorm1d", (4,)), ("BatchNorm2d", (4,)), ("LayerNorm", (4,)), ("GroupNorm", (2, 4)), ("PReLU", (4,))],
)
def test_initial_values_that_are_not_random(name, args):
    wanted = getattr(theirs, name)(*args).state_dict()
    for key, a in getattr(nn, name)(*args).state_dict().items():
        assert np.array_equal(a, wanted[key].numpy()), key


@pytest.mark.parametrize(
    ("name", "args", "options", "fan_in"),
    [
        ("Linear", (20, 2000), {}, 20),
        ("Conv2d", (3, 2000, (3, 2)), {}, 18),
        ("Conv2d", (12, 2000, 3), {"groups": 4}, 27),
        ("ConvTranspose2d", (40, 1000, 3), {}, 9000),
    ],
)
def test_initial_weights_have_pytorchs_distribution(name, args, options, fan_in):
    """Uniform in ±1/sqrt(fan_in): bound, mean and variance, of ours and of theirs; both fixed by seeds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torchs = getattr(theirs, name)(*args, **options)
    ours, bound = getattr(nn, name)(*args, **options, rng=0), 1 / math.sqrt(fan_in)
    for values in (ours.weight.data, ours.bias.data, torchs.weight.detach().numpy(), torchs.bias.detach().numpy()):
        assert 0.98 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
        assert abs(values.mean()) < 4 * bound / math.sqrt(3 * values.size)
        spread = math.sqrt(0.8 / values.size)  # of a variance: a uniform's kurtosis is 1.8
        assert values.var() == pytest.approx(bound**2 / 3, rel=4 * spread)


@pytest.mark.parametrize(
    ("name", "shape"), [("BatchNorm1d", (4,)), ("BatchNorm1d", (7, 4)), ("BatchNorm2d", (3, 5, 4))]
)
@pytest.mark.parametrize("options", [{}, {"eps": 1e-2, "momentum": 0.7}, {"momentum": 1.0}], ids=str)
def test_running_statistics_of_several_batches(name, shape, options):
    ours = getattr(nn, name)(4, **options).astype("float64")
    torchs = getattr(theirs, name)(4, **options).double()
    rng = np.random.default_rng(0)
    for n in (2, 5, 3, 8):
        x = rng.normal(3, 2, (n, *shape))
        close(ours(x), back(torchs(there(x))))
        same_state(ours, torchs)
    x = rng.normal(3, 2, (1, *shape))
    close(ours.eval()(x), back(torchs.eval()(there(x))))
    same_state(ours, torchs)


TARGETS = {
    "classes": lambda rng: rng.integers(0, 5, 6),
    "distributions": lambda rng: rng.dirichlet(np.ones(5), 6),
    "numbers": lambda rng: rng.random((6, 5)),
}
SMOOTHED = {"weight": np.array([0.5, 2.0, 1.0, 0.1, 3.0]), "label_smoothing": 0.2}
LOSSES = [
    ("CrossEntropyLoss", "classes", {}),
    ("CrossEntropyLoss", "classes", SMOOTHED),
    ("CrossEntropyLoss", "distributions", {}),
    ("CrossEntropyLoss", "distributions", SMOOTHED),
    ("MSELoss", "numbers", {}),
    ("BCEWithLogitsLoss", "numbers", {}),
]


@pytest.mark.parametrize(("name", "target", "options"), LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(name, target, options, reduction):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(6, 5)), TARGETS[target](rng)
    ours = getattr(nn, name)(**options, reduction=reduction)
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    given = torch.tensor(x, requires_grad=True)
    value = getattr(theirs, name)(**tensors, reduction=reduction)(given, torch.tensor(t))
    close(ours(x, t), value)
    dloss = np.asarray(rng.normal(size=tuple(value.shape)))
    value.backward(torch.tensor(dloss))
    close(ours.backward(dloss), given.grad)


def test_leaky_bn_cnn_in_training_and_evaluation():
    ours = models.leaky_bn_cnn(input_size=32, width=0.125, rng=0).astype("float64")
    next(layer for layer in ours if isinstance(layer, nn.Dropout)).p = 0.0
    torchs = their_leaky_bn_cnn((4, 8, 16, 16), 32)
    copy_state(ours, torchs)
    losses = nn.CrossEntropyLoss(label_smoothing=0.1), theirs.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = optim.SGD(ours.parameters(), 0.05)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, t = rng.random((6, 32, 32, 1)), rng.integers(0, 7, 6)
        ours.zero_grad()
        torchs.zero_grad()
        given = there(x).requires_grad_()
        value = losses[1](torchs(given), torch.tensor(t))
        value.backward()
        close(losses[0](ours(x), t), value)
        close(ours.backward(losses[0].backward()), back(given.grad))
        same_gradients(ours, torchs)
        optimizer.step()
        with torch.no_grad():  # torch.optim takes seconds to import, and has its own tests
            for p in torchs.parameters():
                p -= 0.05 * p.grad
        same_state(ours, torchs)
    x = rng.random((5, 32, 32, 1))
    close(ours.eval()(x), torchs.eval()(there(x)))


WHOLE = {  # (our model, PyTorch's, channels of its images)
    "densenet201_fer": (
        lambda: models.densenet201_fer(input_size=32, channels=3, width=0.125, layers=(2, 3), p=0.0, rng=0),
        lambda: their_densenet(8, 4, (2, 3), (128, 64, 32)),
        3,
    ),
    "vgg_fer": (
        lambda: models.vgg_fer(input_size=32, width=0.0625, hidden=160, p=0.0, rng=0),
        lambda: their_vgg((4, 8, 16, 32), 4, 10),
        1,
    ),
    "resnet18_fer": (
        lambda: models.resnet18_fer(input_size=32, width=0.0625, rng=0),
        lambda: their_resnet18((4, 8, 16, 32)),
        1,
    ),
    "mini_xception": (
        lambda: models.mini_xception(input_size=32, width=0.5, rng=0),
        lambda: their_mini_xception((4, 4), (8, 16, 32, 64)),
        1,
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_models_in_training_and_evaluation(name):
    make, make_theirs, channels = WHOLE[name]
    ours, torchs = make(), make_theirs()
    copy_state(shuffled(ours, np.random.default_rng(1)), torchs)
    rng = np.random.default_rng(0)
    x, t = rng.random((6, 32, 32, channels)), rng.integers(0, 7, 6)
    losses, given = (nn.CrossEntropyLoss(), theirs.CrossEntropyLoss()), there(x).requires_grad_()
    value = losses[1](torchs(given), torch.tensor(t))
    value.backward()
    close(losses[0](ours(x), t), value)
    close(ours.backward(losses[0].backward()), back(given.grad))
    same_gradients(ours, torchs)
    same_state(ours, torchs)
    close(ours.eval()(x), torchs.eval()(there(x)))
