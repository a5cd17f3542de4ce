"""Fused models made of other modules, and what may change after fusing."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from fused_pairs import close, pair, same
from subjects import normal

from minicnn import fuse, gradcheck, nn, ops


def conv():
    return nn.Conv2d(2, 3, 3, padding=1, rng=0)


# modules of other kinds


def test_modules_in_modules():
    def make():
        body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, bias=False, rng=0), nn.BatchNorm2d(2), nn.LeakyReLU(0.1))
        branch = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 1, 3, rng=1), nn.ReLU(), nn.Dropout(0.2))
        return nn.Sequential(
            nn.Residual(body), nn.Concat(nn.Identity(), branch), nn.DenseBlock(3, 2, 2, rng=2), nn.GlobalAvgPool2d()
        )

    fused, model = pair(make)
    for seed in range(2):
        same(fused, model, normal(3, 6, 5, 2, seed=seed, dtype="float64"), 1e-13)


class Gated(nn.Module):
    """A user's module: parts in a list, a part that is called twice, a parameter, a number and a count of its own."""

    buffers = ("count",)
    gain = 2.0

    def __init__(self):
        self.parts = [nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, rng=k), nn.ReLU()) for k in range(2)]
        self.head = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU())
        self.scale = nn.Parameter(np.full(1, 1.5, "float32"))
        self.count = np.zeros(1)

    def forward(self, x):
        if self.training:
            self.count = self.count + 1
        a, b = (part(x) for part in self.parts)
        self.inner = a + b
        return self.gain * self.scale.data * self.head(self.head(self.inner))

    def backward(self, dy):
        dy = dy * self.gain
        self.scale.accumulate(dy.sum(keepdims=True).ravel())
        d = self.head.backward(self.head.backward(dy * self.scale.data))
        second = self.parts[1].backward(d)
        return second + self.parts[0].backward(d)


@pytest.mark.parametrize("outer", [True, False])
def test_a_module_of_the_users(outer):
    fused, model = pair(lambda: nn.Sequential(Gated(), nn.MaxPool2d(2)) if outer else Gated())
    x = normal(3, 4, 4, 1, dtype="float64")
    same(fused, model, x)
    user = fused.source[0] if outer else fused.source
    assert user.count == 1, "the count is the module's own"
    user.gain = (model[0] if outer else model).gain = 3.0  # and is seen by the fused one
    same(fused, model, x)
    assert nn.Module._registry[":Gated"] is Gated


class OneByOne(nn.Module):
    """A user's module that calls the layers of a Sequential itself."""

    def __init__(self):
        self.layers = nn.Sequential({"first": nn.Conv2d(1, 2, 3, rng=0), "second": nn.ReLU()})

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        assert len(self.layers) == 2
        assert self.layers[0] is self.layers.first
        return x

    def backward(self, dy):
        return self.layers.backward(dy)


def test_layers_that_are_called_one_by_one():
    same(*pair(OneByOne), normal(2, 4, 4, 1, dtype="float64"))


def test_a_layer_that_is_called_twice():
    def make():
        shared, norm = nn.Conv2d(1, 1, 3, padding=1, rng=0), nn.BatchNorm2d(1)
        part = nn.Sequential(shared, norm, nn.ReLU())
        return nn.Sequential(part, shared, nn.ReLU(), nn.Residual(part, part), norm)

    fused, model = pair(make)
    x = normal(3, 4, 4, 1, dtype="float64")
    same(fused, model, x, 1e-13)
    fused.eval(), model.eval()
    with nn.record():
        same(fused, model, x, 1e-12)


def test_calls_of_the_source_and_of_the_fused_model_alternate():
    fused, model = pair(lambda: nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3, rng=1)))
    x = normal(2, 4, 4, 2, dtype="float64")
    same(fused, model, x)
    same(fused.source, model, x)
    same(fused, model, x)


# what may change after fusing


def test_frozen_parameters():
    def make():
        model = nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3, rng=1))
        for p in (model[0].weight, model[1].bias, model[4].bias):
            p.requires_grad = False
        return model

    fused, model = pair(make)
    same(fused, model, normal(2, 4, 4, 2, dtype="float64"))
    assert model[0].weight.grad is None


def test_a_norm_that_is_frozen_in_training():
    def make():
        model = nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2))
        model[1].eval()
        return model

    same(*pair(make), normal(2, 4, 4, 2, dtype="float64"), 1e-12)


def test_the_gradient_is_that_of_the_call_whatever_the_mode_is_by_then():
    for training in (True, False):
        fused, model = pair(lambda: nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5)))
        x, dy = normal(2, 4, 4, 2, dtype="float64"), normal(2, 4, 4, 3, dtype="float64")
        with nn.record():
            for each in (fused, model):
                each.train(training)(x)
                each.train(not training)
            close(fused.backward(dy), model.backward(dy), 1e-12)


def test_numbers_of_a_layer_may_change():
    fused, model = pair(lambda: nn.Sequential(conv(), nn.LeakyReLU(0.1), nn.BatchNorm2d(3), nn.Dropout(0.5)))
    for each in (fused.source, model):
        each[1].options["slope"], each[2].eps, each[2].momentum, each[3].p = 0.3, 0.1, 0.5, 0.2
        each[0].weight.data = each[0].weight.data * 2
    same(fused, model, normal(2, 4, 4, 2, dtype="float64"))


def test_a_hook_sees_every_call():
    fused, model = pair(lambda: nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2)))
    x, seen = normal(2, 4, 4, 2, dtype="float64"), []
    remove = fused.source[1].register_forward_hook(lambda m, x, y: seen.append(y))
    same(fused, model, x)
    y = fused(x)
    remove()
    close(fused.backward(y), model.backward(model(x)), 0)  # of the call that had the hook
    same(fused, model, x)
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[0], np.maximum(model[0](x), 0))


# the way back


@pytest.mark.parametrize("frozen", [False, True])
def test_without_the_gradient_of_the_input(frozen, monkeypatch):
    """No step before the first that trains is gone through, and what they keep is freed."""
    fused, model = pair(
        lambda: nn.Sequential(nn.GELU(), conv(), nn.ReLU(), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3, rng=1))
    )
    for each in (fused.source, model):
        for p in each[1].parameters():
            p.requires_grad = not frozen
    through = []

    def tanh_backward(dy, cache):
        through.append(1)
        return ops.tanh.backward(dy, cache)

    monkeypatch.setattr(nn.Tanh, "op", SimpleNamespace(forward=ops.tanh.forward, backward=tanh_backward))
    monkeypatch.setattr(nn.GELU, "op", SimpleNamespace(forward=ops.gelu.forward, backward=None))
    x, dy = normal(2, 4, 4, 2, dtype="float64"), normal(2, 3, dtype="float64")
    fused(x)
    assert fused.backward(dy, input_gradient=False) is None
    assert through == ([] if frozen else [1])
    with pytest.raises(RuntimeError, match="each call of a module allows one backward"):
        fused.backward(dy)
    monkeypatch.undo()
    model(x), model.backward(dy)
    for p, q in zip(fused.parameters(), model.parameters(), strict=True):
        close(p.grad, q.grad, 0)


def test_gradients_of_a_fused_model_are_derivatives():
    model = nn.Sequential(nn.ZeroPad2d(1), conv(), nn.BatchNorm2d(3), nn.PReLU(3), nn.AvgPool2d(2), nn.Dropout(0.3))
    model[1].bias.requires_grad = False  # batch norm takes away any constant
    gradcheck(fuse(model), normal(3, 4, 4, 2))
    model[1].bias.requires_grad = True
    with nn.record():
        gradcheck(fuse(model.eval()), normal(3, 4, 4, 2))


def test_threads_evaluate_one_fused_model_at_once():
    fused = fuse(nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5))).eval()
    inputs = [normal(4, 8, 8, 2, seed=k) for k in range(8)]
    wanted = [fused(x) for x in inputs]
    found = [None] * 8
    threads = [threading.Thread(target=lambda k=k: found.__setitem__(k, fused(inputs[k]))) for k in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
