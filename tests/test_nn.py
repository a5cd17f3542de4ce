"""Every layer is its op: the same numbers, gradients that pass the check in both modes, PyTorch's names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from minicnn import gradcheck, nn, ops

both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def normal(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@dataclass
class Row:
    """A layer, what it takes and gives (with a batch of 4), its state, and the op's result for it."""

    make: Callable[[], nn.Module]
    x: tuple[int, ...]
    y: tuple[int, ...]
    state: dict[str, tuple[int, ...]]
    op: Callable[[Any, Any], Any]
    torch: str = ""  # PyTorch's layer, if it has parameters

    @property
    def id(self):
        return repr(self.make()).replace("\n", "")


def weighted(op, **options):
    return lambda m, x: op.forward(x, m.weight.data, getattr(m, "bias", None) and m.bias.data, **options)


def plain(op, **options):
    return lambda m, x: op.forward(x, **options)


def batch_norm(m, x):
    gamma, beta = m.weight.data, m.bias.data
    if m.training:
        return ops.batch_norm.forward(x, gamma, beta, eps=m.eps)
    return ops.batch_norm_inference.forward(x, gamma, beta, m.running_mean, m.running_var, eps=m.eps)


def stats(C):
    return {"weight": (C,), "bias": (C,), "running_mean": (C,), "running_var": (C,)}


IMAGE = (5, 4, 6)
OPTIONS = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
ROWS = [
    Row(lambda: nn.Linear(6, 3), (6,), (3,), {"weight": (6, 3), "bias": (3,)}, weighted(ops.linear), "Linear(6, 3)"),
    Row(lambda: nn.Linear(6, 3, bias=False), (2, 6), (2, 3), {"weight": (6, 3)}, weighted(ops.linear)),
    Row(
        lambda: nn.Conv2d(6, 4, (3, 2), **OPTIONS),
        IMAGE,
        (3, 2, 4),
        {"weight": (3, 2, 6, 4), "bias": (4,)},
        weighted(ops.conv2d, **OPTIONS),
        "Conv2d(6, 4, (3, 2))",
    ),
    Row(
        lambda: nn.Conv2d(6, 4, 3, padding=1, groups=2, bias=False),
        IMAGE,
        (5, 4, 4),
        {"weight": (3, 3, 3, 4)},
        weighted(ops.conv2d, padding=1, groups=2),
        "Conv2d(6, 4, 3, groups=2, bias=False)",
    ),
    Row(
        lambda: nn.ConvTranspose2d(6, 3, (2, 3), stride=2, padding=(0, 1), output_padding=1),
        IMAGE,
        (11, 8, 3),
        {"weight": (2, 3, 3, 6), "bias": (3,)},
        weighted(ops.conv_transpose2d, stride=2, padding=(0, 1), output_padding=1),
        "ConvTranspose2d(6, 3, (2, 3))",
    ),
    Row(
        lambda: nn.ConvTranspose2d(6, 3, 2, bias=False),
        IMAGE,
        (6, 5, 3),
        {"weight": (2, 2, 3, 6)},
        weighted(ops.conv_transpose2d),
    ),
    Row(lambda: nn.BatchNorm1d(6), (6,), (6,), stats(6), batch_norm, "BatchNorm1d(6)"),
    Row(lambda: nn.BatchNorm1d(6, eps=0.1), (3, 6), (3, 6), stats(6), batch_norm),
    Row(lambda: nn.BatchNorm2d(6, eps=0.1, momentum=0.5), IMAGE, IMAGE, stats(6), batch_norm, "BatchNorm2d(6)"),
    Row(
        lambda: nn.LayerNorm(6, eps=0.1),
        (2, 6),
        (2, 6),
        {"weight": (6,), "bias": (6,)},
        weighted(ops.layer_norm, eps=0.1),
        "LayerNorm(6)",
    ),
    Row(
        lambda: nn.GroupNorm(3, 6, eps=0.1),
        IMAGE,
        IMAGE,
        {"weight": (6,), "bias": (6,)},
        weighted(ops.group_norm, groups=3, eps=0.1),
        "GroupNorm(3, 6)",
    ),
    Row(lambda: nn.MaxPool2d(2), IMAGE, (2, 2, 6), {}, plain(ops.max_pool2d, kernel_size=2)),
    Row(
        lambda: nn.MaxPool2d((2, 3), 2, (0, 1), ceil_mode=True),
        IMAGE,
        (3, 3, 6),
        {},
        plain(ops.max_pool2d, kernel_size=(2, 3), stride=2, padding=(0, 1), ceil_mode=True),
    ),
    Row(lambda: nn.AvgPool2d(2), IMAGE, (2, 2, 6), {}, plain(ops.avg_pool2d, kernel_size=2)),
    Row(
        lambda: nn.AvgPool2d((2, 3), 2, padding=(0, 1), ceil_mode=True, count_include_pad=False),
        IMAGE,
        (3, 3, 6),
        {},
        plain(ops.avg_pool2d, kernel_size=(2, 3), stride=2, padding=(0, 1), ceil_mode=True, count_include_pad=False),
    ),
    Row(nn.GlobalAvgPool2d, IMAGE, (6,), {}, plain(ops.global_avg_pool2d)),
    Row(nn.Flatten, IMAGE, (120,), {}, plain(ops.flatten)),
    Row(nn.Identity, IMAGE, IMAGE, {}, lambda m, x: (x, None)),
    Row(lambda: nn.ZeroPad2d((1, 0, 2, 1)), IMAGE, (6, 7, 6), {}, plain(ops.zero_pad2d, padding=(1, 0, 2, 1))),
    Row(nn.ReLU, IMAGE, IMAGE, {}, plain(ops.relu)),
    Row(nn.LeakyReLU, IMAGE, IMAGE, {}, plain(ops.leaky_relu, slope=0.01)),
    Row(lambda: nn.LeakyReLU(0.2), IMAGE, IMAGE, {}, plain(ops.leaky_relu, slope=0.2)),
    Row(nn.ELU, IMAGE, IMAGE, {}, plain(ops.elu, alpha=1.0)),
    Row(lambda: nn.ELU(0.5), IMAGE, IMAGE, {}, plain(ops.elu, alpha=0.5)),
    Row(nn.GELU, IMAGE, IMAGE, {}, plain(ops.gelu)),
    Row(lambda: nn.GELU(approximate=True), IMAGE, IMAGE, {}, plain(ops.gelu, approximate=True)),
    Row(nn.SiLU, IMAGE, IMAGE, {}, plain(ops.silu)),
    Row(nn.Sigmoid, IMAGE, IMAGE, {}, plain(ops.sigmoid)),
    Row(nn.Tanh, IMAGE, IMAGE, {}, plain(ops.tanh)),
    Row(nn.Softplus, IMAGE, IMAGE, {}, plain(ops.softplus)),
    Row(nn.Softmax, (6,), (6,), {}, plain(ops.softmax)),
    Row(nn.PReLU, IMAGE, IMAGE, {"weight": (1,)}, lambda m, x: ops.prelu.forward(x, m.weight.data), "PReLU()"),
    Row(
        lambda: nn.PReLU(6, init=0.4), IMAGE, IMAGE, {"weight": (6,)}, lambda m, x: ops.prelu.forward(x, m.weight.data)
    ),
    Row(lambda: nn.PReLU(IMAGE), IMAGE, IMAGE, {"weight": IMAGE}, lambda m, x: ops.prelu.forward(x, m.weight.data)),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)


def made(row, training=True, dtype="float64"):
    """The row's layer with parameters and statistics that are not what it starts with."""
    layer = row.make().train(training).astype(dtype)
    rng = np.random.default_rng(9)
    state = {k: rng.normal(size=v.shape) for k, v in layer.state_dict().items()}
    layer.load_state_dict({k: np.abs(v) + 0.5 if k == "running_var" else v for k, v in state.items()})
    return layer


def test_the_table_has_every_layer():
    elsewhere = {"Sequential", "Concat", "Residual", "DenseBlock", "DenseLayer", "Dropout", "Dropout2d", "Module"}
    layers = {n for n in nn.__all__ if isinstance(getattr(nn, n), type) and issubclass(getattr(nn, n), nn.Module)}
    assert {type(row.make()).__name__ for row in ROWS} == layers - elsewhere


@every_row
@both_modes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward_is_the_op(row, training, dtype):
    layer, x = made(row, training, dtype), normal(4, *row.x, dtype=dtype)
    wanted = row.op(layer, x)[0]
    y = layer(x)
    assert (y.shape, y.dtype) == ((4, *row.y), dtype)
    assert np.array_equal(y, wanted)


def inside_a_model(layer, row):
    """The layer between two linear ones, so that its dx and its place in a chain are checked too."""
    C = row.x[-1]
    before = nn.Linear(C, C, bias=False, rng=1) if len(row.x) < 3 else nn.Conv2d(C, C, 1, bias=False, rng=1)
    return nn.Sequential(before, layer, nn.Flatten(), nn.Linear(int(np.prod(row.y)), 2, rng=2))


@every_row
@both_modes
@pytest.mark.parametrize("seed", range(2))
def test_gradients(row, training, seed):
    model = inside_a_model(made(row), row).train(training)
    report = gradcheck(model, normal(4, *row.x, seed=seed), seed=seed)
    assert [r.name for r in report.rows[2:-2]] == [f"1.{k}" for k in row.state if not k.startswith("running")]


@every_row
def test_state_and_its_order(row):
    layer = row.make()
    assert {k: v.shape for k, v in layer.state_dict().items()} == row.state
    assert list(layer.state_dict()) == list(row.state)
    assert [n for n, _ in layer.named_parameters()] == [k for k in row.state if not k.startswith("running")]
    assert all(v.dtype == "float32" for v in layer.state_dict().values())


@every_row
def test_gradients_have_the_shape_and_dtype_of_what_they_differentiate(row):
    layer = made(row, dtype="float32")
    x = normal(4, *row.x, dtype="float32")
    dx = layer.backward(np.ones_like(layer(x)))
    assert (dx.shape, dx.dtype) == (x.shape, x.dtype)
    for parameter in layer.parameters():
        assert (parameter.grad.shape, parameter.grad.dtype) == (parameter.shape, "float32")


@pytest.mark.torch
@pytest.mark.parametrize("row", [row for row in ROWS if row.torch], ids=lambda row: row.torch)
def test_names_order_and_first_values_are_pytorchs(row):
    torch = pytest.importorskip("torch")
    theirs = eval(f"torch.nn.{row.torch}", {"torch": torch}).state_dict()
    ours = row.make().state_dict()
    assert list(ours) == [k for k in theirs if k != "num_batches_tracked"]
    for name, a in ours.items():
        assert a.size == theirs[name].numel()
        if np.ptp(theirs[name].numpy()) == 0:
            assert np.ptp(a) == 0, f"{name} starts as a constant"
            assert a.flat[0] == pytest.approx(float(theirs[name].reshape(-1)[0])), name


@pytest.mark.torch
@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (lambda: nn.Linear(40, 300, rng=0), "Linear(40, 300)"),
        (lambda: nn.Conv2d(10, 200, (3, 5), groups=2, rng=0), "Conv2d(10, 200, (3, 5), groups=2)"),
        (lambda: nn.ConvTranspose2d(10, 200, 3, rng=0), "ConvTranspose2d(10, 200, 3)"),
    ],
)
def test_weights_start_in_the_range_of_pytorchs(make, theirs):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = eval(f"torch.nn.{theirs}", {"torch": torch}).state_dict()
    for name, a in make().state_dict().items():
        assert np.abs(a).max() == pytest.approx(float(theirs[name].abs().max()), rel=0.03), name
        assert a.std() == pytest.approx(float(theirs[name].std()), rel=0.1), name


SEEDED = [
    lambda rng: nn.Linear(3, 4, rng=rng),
    lambda rng: nn.Conv2d(3, 4, 2, rng=rng),
    lambda rng: nn.ConvTranspose2d(3, 4, 2, rng=rng),
    lambda rng: nn.DenseLayer(3, 2, rng=rng),
    lambda rng: nn.DenseBlock(3, 2, 2, rng=rng),
]


@pytest.mark.parametrize("make", SEEDED, ids=lambda make: type(make(0)).__name__)
def test_a_seed_makes_the_weights(make):
    def weights(rng):
        return b"".join(v.tobytes() for v in make(rng).state_dict().values())

    assert weights(3) == weights(3) == weights(np.random.default_rng(3))
    assert weights(3) != weights(4)
    assert weights(None) != weights(None)


CONSTRUCTORS = [
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, r"Conv2d: groups=2 must divide 3 and 4 channels"),
    (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, r"Conv2d: groups=2 must divide 4 and 3 channels"),
    (lambda: nn.Conv2d(4, 4, 3, groups=0), ValueError, r"Conv2d: groups=0 must divide"),
    (lambda: nn.Conv2d(3, 4, 0), ValueError, r"Conv2d: kernel_size is 0, wanted at least 1"),
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), TypeError, r"Conv2d: kernel_size is \(3, 3, 3\), wanted an int or a pair"),
    (lambda: nn.ConvTranspose2d(3, 4, 1.5), TypeError, r"ConvTranspose2d: kernel_size is 1.5, wanted an int"),
    (lambda: nn.GroupNorm(4, 6), ValueError, r"GroupNorm: num_groups=4 must divide num_channels=6"),
    (lambda: nn.GroupNorm(0, 6), ValueError, r"GroupNorm: num_groups=0 must divide"),
    (lambda: nn.Dropout(1.5), ValueError, r"Dropout: p is 1.5, wanted a probability in 0\.\.1"),
    (lambda: nn.Dropout2d(-0.1), ValueError, r"Dropout2d: p is -0.1, wanted a probability"),
    (lambda: nn.Dropout(float("nan")), ValueError, r"Dropout: p is nan, wanted"),
]


@pytest.mark.parametrize(("make", "error", "message"), CONSTRUCTORS)
def test_constructors_refuse(make, error, message):
    with pytest.raises(error, match=message):
        make()


CALLS = [
    (
        lambda: nn.BatchNorm1d(3),
        (2, 4, 4, 3),
        ValueError,
        r"BatchNorm1d: x has shape .*, wanted \(N, C\) or \(N, L, C\)",
    ),
    (lambda: nn.BatchNorm2d(3), (2, 3), ValueError, r"BatchNorm2d: x has shape \(2, 3\), wanted \(N, H, W, C\)"),
    (lambda: nn.BatchNorm2d(4), (2, 2, 2, 3), ValueError, r"x has 3 channels .* but gamma has shape \(4,\)"),
    (lambda: nn.BatchNorm1d(3), (1, 3), ValueError, r"1 value\(s\) a channel, wanted at least 2"),
    (lambda: nn.Linear(4, 2), (2, 3), ValueError, r"linear: x \(2, 3\) \(\.\.\., in\) does not fit w \(4, 2\)"),
    (lambda: nn.MaxPool2d(0), (2, 4, 4, 3), ValueError, r"max_pool2d: kernel_size is 0"),
    (lambda: nn.PReLU(4), (2, 3), ValueError, r"alpha has shape \(4,\), wanted one that broadcasts to \(3,\)"),
    (lambda: nn.BatchNorm2d(3), None, TypeError, r"BatchNorm2d: x is a list, wanted a NumPy or CuPy array"),
    (lambda: nn.Linear(3, 3), None, TypeError, r"linear: x is a list, wanted a NumPy or CuPy array"),
]


@pytest.mark.parametrize(("make", "shape", "error", "message"), CALLS)
def test_calls_refuse(make, shape, error, message):
    with pytest.raises(error, match=message):
        make()([[1.0]] if shape is None else normal(*shape))
