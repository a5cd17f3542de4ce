"""The networks of the reports: parameter counts as stated there, shapes, options, gradients."""

import numpy as np
import pytest

from minicnn import gradcheck, models, nn

TOTALS = {  # 48x48x1, 7 classes
    "three_conv": 2_581_863,
    "simple_cnn": 793_863,
    "prelu_cnn": 2_414_599,
    "prelu_dnn": 2_500_103,
    "zero_pad_cnn": 4_087_323,
    "deep_dnn": 5_447_687,
    "leaky_bn_cnn": 538_439,
}
STATED = {  # parameters of the layers that have any, in order
    "prelu_cnn": "1664 123904 36928 30976 36928 30976 73856 12800 147584 12800 1638912 512 262656 512 3591",
    "zero_pad_cnn": "1664 36928 36928 55392 110720 147584 2880900 810900 6307",
}
SIZES = {  # kind of layer -> output height and width (or length) of each, in order
    "three_conv": (nn.MaxPool2d, [23, 10, 4]),
    "simple_cnn": (nn.MaxPool2d, [24, 12, 6]),
    "prelu_cnn": (nn.ZeroPad2d, [48, 24, 24, 12, 12, 12]),
    "zero_pad_cnn": (nn.ZeroPad2d, [48, 24, 24, 12, 12, 12, 12]),
    "leaky_bn_cnn": (nn.MaxPool2d, [24, 12, 6, 3]),
    "prelu_dnn": (nn.Linear, [512] * 6 + [7]),
    "deep_dnn": (nn.Linear, [1024, 1024, 768, 768, 512, 512, 7]),
}
every_model = pytest.mark.parametrize("name", models.names())


def test_every_model_is_tested():
    assert set(models.names()) == set(TOTALS) == set(SIZES)


@every_model
def test_parameter_count(name):
    summary = models.build(name, rng=0).summary((48, 48, 1))
    assert summary.total_params == TOTALS[name]
    assert summary.rows[-1].output_shape == (7,)


@pytest.mark.parametrize("name", STATED)
def test_parameter_counts_layer_by_layer(name):
    rows = models.build(name, rng=0).summary((48, 48, 1)).rows
    assert [row.params for row in rows if row.params] == [int(n) for n in STATED[name].split()]


@every_model
def test_sizes_on_the_way(name):
    kind, wanted = SIZES[name]
    rows = models.build(name, rng=0).summary((48, 48, 1)).rows
    assert [row.output_shape[0] for row in rows if row.layer.startswith(kind.__name__)] == wanted


@every_model
def test_options(name):
    model = models.build(name, classes=3, input_size=(24, 30), channels=2, width=0.1, rng=0).eval()
    assert model(np.zeros((2, 24, 30, 2), "float32")).shape == (2, 3)
    assert models.build(name, width=2, rng=0).summary((48, 48, 1)).total_params > 2 * TOTALS[name]


@every_model
def test_the_seed_decides_the_weights(name):
    first, second, other = (models.build(name, width=0.1, rng=seed).state_dict() for seed in (0, 0, 1))
    assert all(np.array_equal(first[k], second[k]) for k in first)
    assert any(not np.array_equal(first[k], other[k]) for k in first)


@every_model
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_gradients(name, train):
    model = models.build(name, classes=3, input_size=(24, 22), width=0.05, rng=1).train(train)
    gradcheck(model, np.random.default_rng(2).random((2, 24, 22, 1)), rtol=1e-5)


@every_model
def test_save_and_load(name, tmp_path):
    model = models.build(name, width=0.1, rng=0).eval()
    models.save(model, tmp_path / "model.safetensors")
    x = np.random.default_rng(0).random((2, 48, 48, 1), dtype="float32")
    assert np.array_equal(models.load(tmp_path / "model.safetensors")(x), model(x))


@every_model
def test_about_is_a_sentence(name):
    assert models.about(name).endswith(".")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(
        ValueError, match=r"no model is named 'leaky_cnn'; did you mean leaky_bn_cnn\? There are: three"
    ):
        models.build("leaky_cnn")
    with pytest.raises(ValueError, match=r"no model is named 'xyzzy'\. There are: three_conv"):
        models.build("xyzzy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is 0, wanted a number above 0"),
        ({"input_size": 5}, "input_size is 5, wanted at least 16"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        models.build("leaky_bn_cnn", **options)
