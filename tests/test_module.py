"""What a Module is made of, how it is copied and shown.  (Its state is in test_module_state.)"""

import copy
import inspect
import pickle

import numpy as np
import pytest
from subjects import KEYS_OF_NESTED, nested, normal

from minicnn import nn
from minicnn.nn import Parameter


def scale(value=1.0):
    return Parameter(np.array([value], "float32"))


class Mixed(nn.Module):
    """Everything a Module of the user's may hold, in an order that is not alphabetical."""

    buffers = ("steps", "centre")

    def __init__(self):
        self.zoom = scale(2)
        self.layers = [nn.Linear(3, 4, rng=0), nn.ReLU(), nn.Linear(4, 3, rng=1)]
        self._hidden = nn.BatchNorm1d(3)
        self.grid = ([nn.Linear(1, 1, rng=2)], (nn.Linear(1, 2, rng=3), "text"))
        self.factors = [scale(3), (scale(4), 5)]
        self.nothing, self.number, self.names = None, 7, ["a", "b"]
        self.steps, self.centre = np.array(3), np.zeros(2, "float32")

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self._hidden(x)

    def backward(self, dy):
        dy = self._hidden.backward(dy)
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy


PARAMETERS = [
    "zoom",
    "factors.0",
    "factors.1.0",
    "layers.0.weight",
    "layers.0.bias",
    "layers.2.weight",
    "layers.2.bias",
    "_hidden.weight",
    "_hidden.bias",
    "grid.0.0.weight",
    "grid.0.0.bias",
    "grid.1.0.weight",
    "grid.1.0.bias",
]
MODULES = ["", "layers.0", "layers.1", "layers.2", "_hidden", "grid.0.0", "grid.1.0"]
STATE = [*PARAMETERS[:3], "steps", "centre", *PARAMETERS[3:9], *["_hidden.running_mean", "_hidden.running_var"]]


def test_what_is_registered():
    model = Mixed()
    assert [n for n, _ in model.named_parameters()] == PARAMETERS
    assert [n for n, _ in model.named_modules()] == MODULES
    assert list(model.modules()) == [m for _, m in model.named_modules()]
    assert [n for n, _ in model.named_children()] == MODULES[1:]
    assert list(model.state_dict()) == [*STATE, *PARAMETERS[9:]]
    assert [p.data[0] for p in model.own_parameters()] == [2, 3, 4]
    assert [n for n, _ in model.named_buffers()] == ["steps", "centre", "_hidden.running_mean", "_hidden.running_var"]
    assert [n for n, _ in model.named_modules("model")][:2] == ["model", "model.layers.0"]


@pytest.mark.torch
def test_keys_and_their_order_are_pytorchs():
    torch = pytest.importorskip("torch").nn
    theirs = torch.Sequential(
        torch.Conv2d(1, 2, 3),
        torch.BatchNorm2d(2),
        torch.Sequential(torch.PReLU(2), torch.Flatten()),
        torch.Linear(8, 3),
    )
    assert [k for k in theirs.state_dict() if "num_batches" not in k] == KEYS_OF_NESTED == list(nested().state_dict())
    assert [n for n, _ in theirs.named_parameters()] == [n for n, _ in nested().named_parameters()]
    assert [n for n, _ in theirs.named_modules()] == [n for n, _ in nested().named_modules()]


def test_a_shared_module_or_parameter_counts_once():
    layer = nn.Linear(3, 3, rng=0)
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.Sequential(layer))
    assert [n for n, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert [n for n, _ in model.named_modules()] == ["", "0", "1", "3"]
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    assert len(list(model.children())) == 4, "but it is called every time"
    tied = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1))
    tied[1].weight = tied[0].weight
    assert [n for n, _ in tied.named_parameters()] == ["0.weight", "0.bias", "1.bias"]


def test_a_gradient_through_a_shared_module_is_the_sum():
    layer = nn.Linear(3, 3, bias=False, rng=0)
    x, dy = normal(4, 3), normal(4, 3, seed=1)
    model = nn.Sequential(layer, layer)
    h = x @ layer.weight.data
    assert np.allclose(model(x), h @ layer.weight.data)
    model.backward(dy)
    np.testing.assert_allclose(layer.weight.grad, h.T @ dy + x.T @ (dy @ layer.weight.data.T), rtol=1e-5)


# modes, dtypes, devices


def test_modes_reach_every_module():
    model = Mixed()
    assert model.training
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert model.train() is model
    assert all(m.training for m in model.modules())
    model._hidden.eval()
    assert [m.training for m in model.modules()].count(False) == 1
    assert not model.train(False).training


@pytest.mark.parametrize("error", [None, KeyError])
def test_evaluating_restores_each_modules_mode(error):
    model = Mixed()
    model._hidden.eval()
    before = [m.training for m in model.modules()]
    try:
        with model.evaluating():
            assert not any(m.training for m in model.modules())
            if error:
                raise error
    except KeyError:
        pass
    assert [m.training for m in model.modules()] == before


@pytest.mark.parametrize("dtype", ["float16", "float64", np.float64, np.dtype("float32")])
def test_astype_changes_every_floating_array_in_place(dtype):
    model = Mixed()
    model.backward(model(normal(4, 3)))
    assert model.astype(dtype) is model
    arrays = model.state_dict()
    assert arrays.pop("steps").dtype.kind == "i", "a counter stays one"
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert {a.dtype for a in (*arrays.values(), *grads)} == {np.dtype(dtype)}
    assert len(grads) == 6
    assert model(normal(4, 3, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", ["int32", "uint8", "complex64", bool])
def test_astype_refuses_what_is_not_floating(dtype):
    model = Mixed()
    with pytest.raises(TypeError, match=rf"astype: {np.dtype(dtype)} is not a floating-point dtype"):
        model.astype(dtype)
    assert model.zoom.data.dtype == "float32"


def test_to():
    model = Mixed()
    before = model.state_dict()
    assert model.to("cpu") is model
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match=r"device 'gpu': wanted"):
        model.to("gpu")


# copies and text


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_equal_and_apart(copied):
    model, x = nested(), normal(2, 4, 4, 1)
    model.register_forward_hook(lambda m, x, y: None)
    model.backward(model(x))
    model(x)
    model[1].eval()
    model[0].bias.requires_grad = False
    twin = copied(model)
    assert repr(twin) == repr(model)
    assert [m.training for m in twin.modules()] == [m.training for m in model.modules()]
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert np.array_equal(p.grad, q.grad), name
        assert p.requires_grad == q.requires_grad
        assert not np.shares_memory(p.data, q.data)
    with pytest.raises(RuntimeError, match="call it first"):
        twin.backward(np.ones((2, 3), "float32"))
    assert not any(m._hooks for m in twin.modules())
    assert np.array_equal(twin(x), model(x))
    twin[3].weight.data = twin[3].weight.data + 1
    assert not np.array_equal(twin(x), model(x))


def test_a_pickle_holds_no_activations():
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.ReLU())
    before = len(pickle.dumps(model))
    model(normal(10_000, 4))
    assert len(pickle.dumps(model)) < before + 100


REPRS = [
    (nn.ReLU(), "ReLU()"),
    (nn.Linear(3, 4, bias=False, rng=0), "Linear(3, 4, bias=False)"),
    (nn.Conv2d(1, 2, kernel_size=(3, 1)), "Conv2d(1, 2, kernel_size=(3, 1))"),
    (nn.Dropout(0.25, rng=np.random.default_rng(0)), "Dropout(0.25)"),
    (nn.Sequential(), "Sequential()"),
    (nn.Sequential(nn.ReLU(), nn.Tanh()), "Sequential(\n  (0): ReLU()\n  (1): Tanh()\n)"),
    (
        nn.Sequential({"a": nn.Residual(nn.ReLU())}),
        "Sequential(\n  (a): Residual(\n    (body): ReLU()\n    (shortcut): Identity()\n  )\n)",
    ),
    (nn.Concat(nn.ReLU(), nn.Tanh()), "Concat(\n  (branches.0): ReLU()\n  (branches.1): Tanh()\n)"),
]


@pytest.mark.parametrize(("module", "text"), REPRS)
def test_repr(module, text):
    assert repr(module) == text


def test_signatures_are_the_constructors():
    assert list(inspect.signature(nn.Linear).parameters) == ["in_features", "out_features", "bias", "rng"]
    assert list(inspect.signature(nn.MaxPool2d).parameters) == ["kernel_size", "stride", "padding", "ceil_mode"]


def test_what_a_module_must_define():
    class Nothing(nn.Module):
        pass

    class Half(nn.Module):
        def forward(self, x):
            return x, None

    with pytest.raises(NotImplementedError, match="Nothing defines no forward"):
        Nothing()(normal(2, 2))
    half = Half()
    half(normal(2, 2))
    with pytest.raises(NotImplementedError, match=r"Half defines neither gradient\(dy, cache\) nor backward\(dy\)"):
        half.backward(normal(2, 2))
