"""Which layers become which step, and what the fused model is apart from its numbers (those are test_fuse.py's)."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from subjects import convolutional, nested, normal

import minicnn
from minicnn import fuse, models, nn
from minicnn.plan import Fused

CONV, LINEAR = nn.Conv2d(2, 2, 3), nn.Linear(4, 4)
BN, BN1, RELU, LEAKY, PRELU = nn.BatchNorm2d(2), nn.BatchNorm1d(4), nn.ReLU(), nn.LeakyReLU(0.2), nn.PReLU(2)
PAD, UNEVEN, MAX, AVG = nn.ZeroPad2d(1), nn.ZeroPad2d((1, 0, 1, 0)), nn.MaxPool2d(2), nn.AvgPool2d(2)
DROP, DROP2 = nn.Dropout(0.5), nn.Dropout2d(0.5)
RISING = nn.LeakyReLU(-0.2)  # y > 0 does not tell the sign of x

TRAINING = [
    ([CONV], ["conv2d"]),
    ([CONV, RELU], ["conv2d_act(relu)"]),
    ([CONV, LEAKY], ["conv2d_act(leaky_relu)"]),
    ([CONV, RISING], ["conv2d + epilogue(leaky_relu)"]),
    ([CONV, PRELU], ["conv2d + epilogue(prelu)"]),
    ([CONV, RELU, MAX], ["conv2d + epilogue(relu, max_pool2d 2x2)"]),
    ([CONV, LEAKY, BN, MAX], ["conv2d + epilogue(leaky_relu, batch_norm, max_pool2d 2x2)"]),
    ([CONV, BN, RELU, MAX, DROP], ["conv2d + epilogue(batch_norm, relu, max_pool2d 2x2, dropout)"]),
    ([CONV, DROP2, MAX, RELU], ["conv2d + epilogue(relu, max_pool2d 2x2, dropout of channels)"]),
    ([CONV, BN, MAX, RELU], ["conv2d + epilogue(batch_norm, relu, max_pool2d 2x2)"]),
    ([CONV, DROP, RELU], ["conv2d + epilogue(relu, dropout)"]),
    ([CONV, PRELU, PAD, AVG], ["conv2d + epilogue(prelu, zero_pad2d, avg_pool2d 2x2)"]),
    ([CONV, DROP2, PAD, MAX], ["conv2d + epilogue(zero_pad2d, max_pool2d 2x2, dropout of channels)"]),
    ([PAD, CONV, PAD, CONV], ["conv2d", "conv2d"]),
    ([PRELU, PAD, CONV], ["epilogue(prelu)", "conv2d"]),
    ([UNEVEN, CONV], ["ZeroPad2d", "conv2d"]),
    ([UNEVEN, MAX], ["epilogue(zero_pad2d, max_pool2d 2x2)"]),
    ([PAD, PAD, CONV], ["ZeroPad2d", "conv2d"]),
    ([PAD, RELU], ["ZeroPad2d", "epilogue(relu)"]),
    # what the normal form cannot hold begins the next step
    ([CONV, RELU, RELU], ["conv2d_act(relu)", "epilogue(relu)"]),
    ([CONV, AVG, RELU], ["conv2d + epilogue(avg_pool2d 2x2)", "epilogue(relu)"]),
    ([CONV, MAX, LEAKY], ["conv2d + epilogue(max_pool2d 2x2)", "epilogue(leaky_relu)"]),
    ([CONV, MAX, BN], ["conv2d + epilogue(max_pool2d 2x2)", "epilogue(batch_norm)"]),
    ([CONV, DROP, MAX], ["conv2d + epilogue(dropout)", "epilogue(max_pool2d 2x2)"]),
    ([CONV, DROP2, AVG], ["conv2d + epilogue(dropout of channels)", "epilogue(avg_pool2d 2x2)"]),
    ([CONV, DROP, DROP], ["conv2d + epilogue(dropout)", "epilogue(dropout)"]),
    ([CONV, BN, RELU, BN], ["conv2d + epilogue(batch_norm, relu)", "epilogue(batch_norm)"]),
    ([CONV, MAX, MAX], ["conv2d + epilogue(max_pool2d 2x2)", "epilogue(max_pool2d 2x2)"]),
    ([CONV, nn.GELU(), RELU], ["conv2d", "GELU", "epilogue(relu)"]),
    ([nn.Flatten(), LINEAR, RELU, DROP, LINEAR], ["Flatten", "linear + epilogue(relu, dropout)", "linear"]),
    ([LINEAR, BN1, RELU], ["linear + epilogue(batch_norm, relu)"]),
    ([CONV, nn.Sequential(BN, nn.Sequential(RELU)), MAX], ["conv2d + epilogue(batch_norm, relu, max_pool2d 2x2)"]),
    ([nn.Conv2d(2, 3, 1), AVG, RELU], ["epilogue(avg_pool2d 2x2)", "conv2d_act(relu)"]),
    ([nn.Conv2d(2, 3, 1), nn.AvgPool2d(2, padding=1)], ["conv2d + epilogue(avg_pool2d 2x2)"]),
    ([nn.Conv2d(2, 3, 1, 2), AVG], ["conv2d + epilogue(avg_pool2d 2x2)"]),
    ([], []),
]
EVALUATION = [
    ([CONV, BN], ["conv2d_act(scale)"]),
    ([CONV, BN, RELU], ["conv2d_act(scale, relu)"]),
    ([CONV, BN, RELU, DROP], ["conv2d_act(scale, relu)"]),
    ([CONV, BN, PRELU, MAX], ["conv2d_act(scale) + epilogue(prelu, max_pool2d 2x2)"]),
    ([CONV, RELU, BN], ["conv2d + epilogue(relu, batch_norm)"]),
    ([CONV, RELU, DROP], ["conv2d_act(relu)"]),
    ([LINEAR, BN1, DROP], ["linear + epilogue(batch_norm)"]),
    ([LINEAR, DROP, DROP], ["linear", "nothing"]),
]


def computed(model):
    return [row.computes for row in fuse(model).table().rows]


def named(case):
    return " ".join(type(layer).__name__ for layer in case)


@pytest.mark.parametrize(("layers", "steps"), TRAINING, ids=map(named, (c for c, _ in TRAINING)))
def test_layers_become_steps(layers, steps):
    assert computed(nn.Sequential(*layers).train()) == steps


@pytest.mark.parametrize(("layers", "steps"), EVALUATION, ids=map(named, (c for c, _ in EVALUATION)))
def test_layers_become_steps_in_evaluation(layers, steps):
    assert computed(nn.Sequential(*layers).eval()) == steps


class Louder(nn.ReLU):
    """A layer of the user's."""

    def forward(self, x):
        return super().forward(2 * x)


def test_a_layer_of_a_class_of_its_own_is_not_taken_for_its_base():
    assert computed(nn.Sequential(CONV, Louder()).train()) == ["conv2d", "Louder"]


def test_paths_are_those_of_the_model():
    model = nn.Sequential({"a": nn.Sequential(PAD, CONV), "b": nn.Sequential({"c": RELU}), "d": LINEAR})
    assert [row.path for row in fuse(model).table().rows] == ["a.0, a.1, b.c", "d"]


# the print-out


@pytest.fixture
def reference():
    """The definitions run: kernels would have to be compiled for one blank image."""
    with minicnn.using("reference"):
        yield


def test_the_printed_table_without_and_with_a_shape(reference):
    fused = fuse(models.leaky_bn_cnn(width=0.5, rng=0))
    assert repr(fused).splitlines()[0] == "Sequential, fused"
    assert repr(fused).splitlines()[-1] == "shapes follow from a first call"
    rows = fuse(fused.source, (48, 48, 1)).table().rows
    fused(np.zeros((2, 48, 48, 1), "float32"))
    assert fused.table().rows == rows
    lines = repr(fused).splitlines()
    assert lines[0] == "Sequential of (48, 48, 1), fused"
    assert "0, 1, 2, 3" in lines[3]
    assert "conv2d + epilogue(leaky_relu, batch_norm, max_pool2d 2x2)" in lines[3]
    assert "(24, 24, 16)" in lines[3]
    assert lines[-1].startswith("kept for backward, an image: ")


def test_what_a_step_keeps(reference):
    """The images, the convolution's output and, in bytes, where the maxima are; a weight is not counted."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    rows = fuse(model, (6, 6, 1)).table().rows
    assert [row.kept for row in rows] == [4 * 36 + 4 * 64 + 16, 0, 4 * 16]
    assert [row.output_shape for row in rows] == [(2, 2, 4), (16,), (3,)]


def test_the_table_shows_the_algorithm_of_a_convolution():
    """Of its three passes where they differ."""
    for mode, named in (("reference", "im2col"), ("fast", "direct / rows / direct")):
        with minicnn.using(mode):
            (row,) = fuse(nn.Sequential(nn.Conv2d(1, 4, 3)), (6, 6, 1)).table().rows
        assert row.algorithm == named


def test_printing_leaves_no_trace():
    model = convolutional()
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    state = model[4].rng.bit_generator.state
    repr(fuse(model, (4, 4, 2)))
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before
    assert model[4].rng.bit_generator.state == state


def test_a_module_whose_parts_are_fused_comes_before_them():
    body = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU())
    model = nn.Sequential(nn.Residual(body), nn.Concat(nn.Identity(), nn.Sequential(nn.MaxPool2d(1), nn.ReLU())))
    rows = fuse(model, (4, 4, 1)).table().rows
    assert [(row.path, row.computes) for row in rows] == [
        ("0", "Residual"),
        ("0.body.0, 0.body.1, 0.body.2", "conv2d + epilogue(batch_norm, relu)"),
        ("1", "Concat"),
        ("1.branches.1.0, 1.branches.1.1", "epilogue(relu, max_pool2d 1x1)"),
    ]


# what it is


def test_the_state_is_the_models():
    model = nested()
    fused = fuse(model)
    assert fused.source is model
    assert list(fused.state_dict()) == list(model.state_dict())
    assert [(n, id(p)) for n, p in fused.named_parameters()] == [(n, id(p)) for n, p in model.named_parameters()]
    assert [n for n, _ in fused.named_buffers()] == ["1.running_mean", "1.running_var"]
    assert [m for m in fused.modules()] == [m for m in model.modules()]
    fused.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})
    assert (model[1].running_var == 2).all()
    assert fused.astype("float64").to("cpu") is fused
    assert model[0].weight.data.dtype == "float64"
    model[0].weight.grad = model[0].weight.data
    fused.zero_grad()
    assert model[0].weight.grad is None
    assert repr(fused.summary((4, 4, 1))) == repr(model.summary((4, 4, 1)))


def test_the_mode_is_the_models():
    model = nested()
    fused = fuse(model)
    fused.eval()
    assert not any(m.training for m in model.modules())
    assert not fused.training
    model.train()
    assert fused.training
    fused.training = False
    assert not model.training
    with fused.train().evaluating():
        assert not model[1].training
    assert model[1].training


def test_fusing_twice_and_what_cannot_be_fused():
    fused = fuse(nested())
    assert fuse(fused) is fused
    with pytest.raises(TypeError, match="fuse: wanted a Module, got list"):
        fuse([nn.ReLU()])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))], ids=["copy", "pickle"])
def test_a_copy_is_of_its_own(copied):
    fused = fuse(nested())
    x = normal(3, 4, 4, 1)
    twin = copied(fused)
    assert isinstance(twin, Fused)
    assert np.array_equal(twin(x), fused(x))
    twin.source[0].weight.data = twin.source[0].weight.data + 1
    assert not np.array_equal(twin(x), fused(x))


def test_a_saved_fused_model_is_the_model(tmp_path):
    fused = fuse(nested())
    minicnn.save(fused, tmp_path / "m.safetensors")
    loaded = minicnn.load(tmp_path / "m.safetensors")
    x = normal(3, 4, 4, 1)
    assert np.array_equal(loaded(x), fused.eval()(x))


def test_it_is_freed_with_its_last_reference():
    gc.disable()
    try:
        fused = fuse(nn.Sequential(nn.Residual(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())), nn.MaxPool2d(2)))
        fused.backward(fused(normal(2, 4, 4, 1))[:, :2, :2])
        fused(normal(2, 4, 4, 1))
        parts = [weakref.ref(m) for m in (fused, fused.body, fused.source)]
        del fused
        assert not any(part() for part in parts)
    finally:
        gc.enable()


# errors


def test_the_layer_that_fails_is_named_as_in_the_model():
    fused = fuse(nn.Sequential({"first": nn.Conv2d(1, 2, 3), "second": nn.ReLU(), "third": nn.Linear(3, 4)}))
    with pytest.raises(ValueError, match=r"(?s)conv2d: .*in layer first: Conv2d\(1, 2, 3\)$"):
        fused(np.zeros((2, 4, 4, 3), "float32"))
    with pytest.raises(ValueError, match=r"(?s)linear: .*in layer third: Linear.* -> first, second \(2, 2, 2, 2"):
        fused(np.zeros((2, 4, 4, 1), "float32"))


def test_a_norm_of_the_wrong_kind_is_refused_as_in_the_model():
    for layers in ([nn.Conv2d(1, 2, 3), nn.BatchNorm1d(2)], [nn.BatchNorm1d(1)]):
        for fused in (fuse(nn.Sequential(*layers)), fuse(nn.Sequential(*layers).eval())):
            with pytest.raises(ValueError, match=r"BatchNorm1d: x has shape .*, wanted \(N, C\) or \(N, L, C\)"):
                fused(np.zeros((2, 4, 4, 1), "float32"))


def test_the_part_that_fails_is_named():
    fused = fuse(nn.Sequential(nn.Residual(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()))))
    with pytest.raises(ValueError, match=r"(?s)add: shapes .*in layer 0: Residual\(\)\n"):
        fused(np.zeros((2, 4, 4, 1), "float32"))
    with pytest.raises(ValueError, match=r"(?s)conv2d: .*in layer 0.body.0: Conv2d\(1, 2, 1\)"):
        fused(np.zeros((2, 4, 4, 3), "float32"))


@pytest.mark.parametrize("call", [True, False])
def test_there_is_nothing_to_go_back_through(call):
    fused = fuse(nested()).train()
    if call:
        fused.backward(fused(normal(2, 4, 4, 1)))
    why = "each call of a module allows one backward" if call else "call it first"
    with pytest.raises(RuntimeError, match=rf"Fused\.backward: {why}"):
        fused.backward(normal(2, 3))
    fused.eval()(normal(2, 4, 4, 1))
    with pytest.raises(RuntimeError, match=r"in eval\(\) a call keeps nothing"):
        fused.backward(normal(2, 3))
