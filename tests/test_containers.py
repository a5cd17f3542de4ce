"""Modules made of others: what they compute, what they are called, and that gradients of every path add up."""

import numpy as np
import pytest

from minicnn import gradcheck, nn

both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def linear(i, o, rng=0):
    return nn.Linear(i, o, rng=rng)


def conv(i, o, rng=0):
    return nn.Conv2d(i, o, 3, padding=1, rng=rng)


SHARED, TANH = linear(3, 3, 7), nn.Tanh()


class Twice(nn.Module):
    """y = f(f(x)), with one f."""

    def __init__(self):
        self.f = nn.Sequential(linear(3, 3), nn.Tanh())

    def forward(self, x):
        return self.f(self.f(x))

    def backward(self, dy):
        return self.f.backward(self.f.backward(dy))


class Gate(nn.Module):
    """y = a(x) b(x), a user's layer with a cache of its own."""

    def __init__(self):
        self.a, self.b = linear(3, 3, 1), nn.Sequential(linear(3, 3, 2), nn.Sigmoid())

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        return a * b, (a, b)

    def gradient(self, dy, cache):
        a, b = cache
        db = self.b.backward(dy * a)
        return db + self.a.backward(dy * b)


COMPOSED = {
    "Sequential": (lambda: nn.Sequential(linear(3, 4), nn.Tanh(), linear(4, 2, 1)), (3,), (2,)),
    "Sequential of one": (lambda: nn.Sequential(linear(3, 4)), (3,), (4,)),
    "Sequential of none": (nn.Sequential, (3,), (3,)),
    "Sequential in Sequential": (lambda: nn.Sequential(nn.Sequential(nn.Sequential(linear(3, 4)))), (3,), (4,)),
    "one layer twice": (lambda: nn.Sequential(SHARED, nn.Tanh(), SHARED), (3,), (3,)),
    "one activation twice": (lambda: nn.Sequential(TANH, linear(3, 3), TANH, linear(3, 2)), (3,), (2,)),
    "Residual": (lambda: nn.Residual(nn.Sequential(linear(3, 3), nn.Tanh())), (3,), (3,)),
    "Residual with shortcut": (lambda: nn.Residual(conv(3, 4), nn.Conv2d(3, 4, 1, rng=1)), (4, 5, 3), (4, 5, 4)),
    "Residual, both ways one": (lambda: nn.Residual(SHARED, SHARED), (3,), (3,)),
    "Residual that shares": (
        lambda: nn.Residual(nn.Sequential(linear(3, 3), nn.Tanh(), SHARED), nn.Sequential(SHARED, nn.Tanh())),
        (3,),
        (3,),
    ),
    "Concat": (
        lambda: nn.Concat(conv(3, 1), nn.Sequential(conv(3, 2), nn.Tanh()), nn.Identity()),
        (4, 5, 3),
        (4, 5, 6),
    ),
    "Concat of one": (lambda: nn.Concat(linear(3, 2)), (3,), (2,)),
    "Concat that shares": (lambda: nn.Concat(nn.Sequential(linear(3, 3), nn.Tanh(), SHARED), SHARED), (3,), (6,)),
    "DenseLayer": (lambda: nn.DenseLayer(3, 2, rng=0), (4, 5, 3), (4, 5, 5)),
    "DenseLayer, narrow": (lambda: nn.DenseLayer(3, 1, bottleneck=7, rng=0), (4, 5, 3), (4, 5, 4)),
    "DenseBlock": (lambda: nn.DenseBlock(3, 3, 2, rng=0), (4, 5, 3), (4, 5, 9)),
    "called twice by the user": (Twice, (3,), (3,)),
    "a product by the user": (Gate, (3,), (3,)),
}


@pytest.mark.parametrize("name", COMPOSED)
@both_modes
@pytest.mark.parametrize("seed", range(2))
def test_gradients_and_shapes(name, training, seed):
    make, x_shape, y_shape = COMPOSED[name]
    model, x = make().train(training), normal(4, *x_shape, seed=seed)
    rng = np.random.default_rng(8)  # with the first values of a norm, a rectifier behind it may be at 0
    model.load_state_dict({k: rng.uniform(0.2, 1, v.shape) for k, v in model.state_dict().items()})
    assert model(x.astype("float32")).shape == (4, *y_shape)
    report = gradcheck(model, x, seed=seed)
    assert [row.name for row in report.rows[1:]] == [n for n, _ in model.named_parameters()]


def test_sequential_runs_its_layers_in_order():
    model = nn.Sequential(linear(3, 4), nn.Tanh(), linear(4, 2, 1))
    x = normal(5, 3)
    assert np.array_equal(model(x), model[2](model[1](model[0](x))))


def test_residual_and_concat_are_what_they_say():
    x, a, b = normal(5, 3), linear(3, 3), linear(3, 3, 1)
    assert np.array_equal(nn.Residual(a)(x), a(x) + x)
    assert np.array_equal(nn.Residual(a, b)(x), a(x) + b(x))
    assert np.array_equal(nn.Concat(a, nn.Identity(), b)(x), np.concatenate([a(x), x, b(x)], -1))


def test_dense_layer_is_bn_relu_conv_bn_relu_conv_beside_its_input():
    layer, x = nn.DenseLayer(3, 2, bottleneck=4, rng=0), normal(2, 4, 5, 3)
    new = x
    for part in (layer.norm1, layer.relu1, layer.conv1, layer.norm2, layer.relu2, layer.conv2):
        new = part(new)
    np.testing.assert_array_equal(layer(x), np.concatenate([x, new], -1))
    assert (layer.conv1.kernel_size, layer.conv1.out_channels) == ((1, 1), 8)
    assert (layer.conv2.kernel_size, layer.conv2.out_channels) == ((3, 3), 2)
    assert layer.conv1.bias is layer.conv2.bias is None
    assert [type(m) for m in layer.children()] == 2 * [nn.BatchNorm2d, nn.ReLU, nn.Conv2d]


def test_dense_block_feeds_every_layer_all_before_it():
    block = nn.DenseBlock(3, 4, 2, bottleneck=3, rng=0)
    assert [n for n, _ in block.named_children()] == ["denselayer1", "denselayer2", "denselayer3", "denselayer4"]
    assert [layer.conv1.in_channels for layer in block] == [3, 5, 7, 9]
    assert [layer.conv1.out_channels for layer in block] == [6] * 4
    assert block.out_channels == 11
    x = normal(2, 4, 5, 3).astype("float32")
    assert np.array_equal(block(x)[..., :3], x), "the input runs through"


SHARED_DROPOUT = [
    lambda dropout: nn.Concat(dropout, dropout),
    lambda dropout: nn.Residual(dropout, dropout),
]


@pytest.mark.parametrize("make", SHARED_DROPOUT)
def test_a_shared_dropout_goes_back_through_the_mask_of_each_call(make):
    model = make(nn.Dropout(0.5, rng=0))
    x = np.ones((6, 8), "float32")
    y = model(x)
    dx = model.backward(np.ones_like(y))
    np.testing.assert_array_equal(dx, y[:, :8] + y[:, 8:] if y.shape[1] == 16 else y)
    weighted = np.concatenate([np.ones_like(x), 0 * x], 1) if y.shape[1] == 16 else None
    if weighted is not None:
        y = model(x)
        np.testing.assert_array_equal(model.backward(weighted), y[:, :8])


# Sequential as a container


def test_names():
    a, b = nn.ReLU(), nn.Tanh()
    assert [n for n, _ in nn.Sequential(a, b).named_children()] == ["0", "1"]
    assert [n for n, _ in nn.Sequential({"first": a, "last": b}).named_children()] == ["first", "last"]
    assert [n for n, _ in nn.Sequential({"_hidden": a, 7: b}).named_children()] == ["_hidden", "7"]


def test_it_is_a_sequence():
    layers = [nn.ReLU(), nn.Tanh(), nn.Sigmoid()]
    model = nn.Sequential(*layers)
    assert list(model) == layers
    assert len(model) == 3
    assert (model[0], model[-1]) == (layers[0], layers[2])
    assert list(model[1:]) == layers[1:]
    assert isinstance(model[:2], nn.Sequential)
    with pytest.raises(IndexError, match="out of range"):
        model[3]


def test_append():
    model = nn.Sequential(nn.ReLU())
    assert model.append(nn.Tanh()).append(nn.Sigmoid()) is model
    assert [type(m) for m in model] == [nn.ReLU, nn.Tanh, nn.Sigmoid]
    assert [n for n, _ in model.named_children()] == ["0", "1", "2"]


def test_a_layer_that_is_replaced_keeps_its_place():
    model = nn.Sequential({"a": nn.ReLU(), "b": nn.Tanh()})
    model.a = nn.Identity()
    assert [type(m) for m in model] == [nn.Identity, nn.Tanh]


BAD_LAYERS = [
    (lambda: nn.Sequential(nn.ReLU(), "relu"), TypeError, r"Sequential: layer 1 is a str, wanted a Module"),
    (lambda: nn.Sequential([nn.ReLU()]), TypeError, r"Sequential: layer 0 is a list, wanted a Module"),
    (lambda: nn.Sequential(nn.ReLU), TypeError, r"Sequential: layer 0 is a type, wanted a Module"),
    (lambda: nn.Sequential({"a": None}), TypeError, r"Sequential: layer a is a NoneType, wanted a Module"),
    (lambda: nn.Sequential().append(3), TypeError, r"Sequential: layer 0 is a int, wanted a Module"),
    (lambda: nn.Sequential({"forward": nn.ReLU()}), ValueError, r"a layer cannot be named 'forward': it is taken"),
    (lambda: nn.Sequential({"training": nn.ReLU()}), ValueError, r"cannot be named 'training'"),
    (lambda: nn.Sequential({"_tape": nn.ReLU()}), ValueError, r"cannot be named '_tape'"),
    (lambda: nn.Sequential({"a.b": nn.ReLU()}), ValueError, r"cannot be named 'a.b': it is taken, or holds a dot"),
    (lambda: nn.Sequential({1: nn.ReLU(), "1": nn.ReLU()}), ValueError, r"cannot be named '1'"),
    (lambda: nn.Sequential({"1": nn.ReLU()}).append(nn.Tanh()), ValueError, r"cannot be named '1': it is taken"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD_LAYERS)
def test_what_is_no_layer(make, error, message):
    with pytest.raises(error, match=message):
        make()


BAD_SHAPES = [
    (lambda: nn.Residual(linear(3, 4)), r"add: shapes \[\(5, 4\), \(5, 3\)\], wanted one shape"),
    (lambda: nn.Concat(), r"concat: shapes \[\] do not agree"),
]


@pytest.mark.parametrize(("make", "message"), BAD_SHAPES)
def test_parts_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()(normal(5, 3))
