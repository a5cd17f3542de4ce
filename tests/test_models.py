"""The networks of the reports: parameter counts as stated there, shapes, options, gradients."""

import functools
import inspect

import numpy as np
import pytest

from minicnn import gradcheck, models, nn

TOTALS = {  # 48x48x1, 7 classes
    "three_conv": 2_581_863,
    "densenet201_fer": 18_092_928 + 2_625_031,  # torchvision's features, and the report's head
    "simple_cnn": 793_863,
    "prelu_cnn": 2_414_599,
    "prelu_dnn": 2_500_103,
    "zero_pad_cnn": 4_087_323,
    "deep_dnn": 5_447_687,
    "leaky_bn_cnn": 538_439,
    "vgg_fer": 40_374_599,
    "resnet18_fer": 11_171_271,  # torchvision's on CIFAR, 11,173,962, but for two channels of input and three classes
    "mini_xception": 56_951,  # trained ones of the authors' program, whose 58,423 count running statistics
}
STATED = {  # parameters of the layers that have any, in order
    "prelu_cnn": "1664 123904 36928 30976 36928 30976 73856 12800 147584 12800 1638912 512 262656 512 3591",
    "zero_pad_cnn": "1664 36928 36928 55392 110720 147584 2880900 810900 6307",
    "prelu_dnn": "1180160 512" + 5 * " 262656 512" + " 3591",
    "deep_dnn": "2360320 1049600 787200 590592 393728 262656 3591",
}
SIZES = {  # kind of layer -> output height and width (or length) of each, in order
    "three_conv": (nn.MaxPool2d, [23, 10, 4]),
    "densenet201_fer": (nn.AvgPool2d, [6, 3, 1]),
    "simple_cnn": (nn.MaxPool2d, [24, 12, 6]),
    "prelu_cnn": (nn.ZeroPad2d, [48, 24, 24, 12, 12, 12]),
    "zero_pad_cnn": (nn.ZeroPad2d, [48, 24, 24, 12, 12, 12, 12]),
    "leaky_bn_cnn": (nn.MaxPool2d, [24, 12, 6, 3]),
    "prelu_dnn": (nn.Linear, [512] * 6 + [7]),
    "deep_dnn": (nn.Linear, [1024, 1024, 768, 768, 512, 512, 7]),
    "vgg_fer": (nn.MaxPool2d, [24, 12, 6, 3]),
    "resnet18_fer": (nn.BatchNorm2d, [48] * 5 + [24] * 5 + [12] * 5 + [6] * 5),
    "mini_xception": (nn.BatchNorm2d, [46, 44, 44, 44, 22, 22, 22, 11, 11, 11, 6, 6, 6, 3]),
}
CHANNELS = {  # of the convolutions' outputs, in order
    "three_conv": [48, 128, 256],
    "simple_cnn": [64, 128, 512],
    "leaky_bn_cnn": [32, 64, 128, 128],
    "zero_pad_cnn": [64, 64, 64, 96, 128, 128],
    "vgg_fer": [64, 64, 128, 128, 256, 256, 512, 512],
    "resnet18_fer": [64] * 5 + [128] * 5 + [256] * 5 + [512] * 5,
    "mini_xception": [8, 8, 8, 16, 16, 16, 16, 16, 32, 32, 32, 32, 32, 64, 64, 64, 64, 64, 128, 128, 128, 128, 7],
}
SHALLOW = {  # for tests that would take long on 98 dense layers, or on 36 million weights of linear ones
    "densenet201_fer": {"layers": (2, 1)},
    "vgg_fer": {"hidden": 200},
}
NARROW = {"mini_xception": 0.4}  # one channel of eight might be 0 everywhere
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


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_on_the_way(name):
    rows = models.build(name, rng=0).summary((48, 48, 1)).rows
    assert [row.output_shape[-1] for row in rows if row.layer.startswith("Conv2d")] == CHANNELS[name]


@every_model
def test_every_model_takes_the_same_options(name):
    options = inspect.signature(getattr(models, name)).parameters
    assert all(option.kind is option.KEYWORD_ONLY for option in options.values())
    common = {"classes": 7, "input_size": 48, "channels": 1, "width": 1.0, "rng": None}
    assert {k: options[k].default for k in common} == common


@every_model
def test_options(name):
    options = {"classes": 3, "input_size": (24, 30), "channels": 2} | SHALLOW.get(name, {})
    model = models.build(name, width=0.1, rng=0, **options).eval()
    assert model(np.zeros((2, 24, 30, 2), "float32")).shape == (2, 3)
    wide, usual = (models.build(name, width=w, rng=0, **SHALLOW.get(name, {})) for w in (2, 1))
    assert sum(p.data.size for p in wide.parameters()) > 2 * sum(p.data.size for p in usual.parameters())


@every_model
def test_the_seed_decides_the_weights(name):
    first, second, other = (models.build(name, width=0.1, rng=seed).state_dict() for seed in (0, 0, 1))
    assert all(np.array_equal(first[k], second[k]) for k in first)
    assert any(not np.array_equal(first[k], other[k]) for k in first)


@every_model
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_gradients(name, train):
    options = {"classes": 3, "input_size": (24, 22), "width": NARROW.get(name, 0.05)} | SHALLOW.get(name, {})
    model = models.build(name, rng=1, **options).train(train)
    rng = np.random.default_rng(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # with shifts of 0 a pixel that is 0 would meet the kink of a ReLU
            module.bias.data = rng.uniform(-0.5, 0.5, module.bias.shape)
    gradcheck(model, rng.random((2, 24, 22, 1)), rtol=1e-5)


@every_model
def test_save_and_load(name, tmp_path):
    model = models.build(name, width=0.1, rng=0).eval()
    models.save(model, tmp_path / "model.safetensors")
    x = np.random.default_rng(0).random((2, 48, 48, 1), dtype="float32")
    assert np.array_equal(models.load(tmp_path / "model.safetensors")(x), model(x))


@every_model
def test_about_is_a_sentence(name):
    assert models.about(name).endswith(".")


def test_densenet_shape_by_shape():
    rows = {r.path: r for r in models.densenet201_fer(rng=0).summary((48, 48, 1)).rows}
    assert rows["features.conv0"].output_shape == (24, 24, 64)
    size, c = 12, 64
    for block, depth in enumerate((6, 12, 48, 32), 1):
        for layer in range(1, depth + 1):
            path = f"features.denseblock{block}.denselayer{layer}"
            shapes = [rows[f"{path}.{part}"].output_shape for part in ("norm1", "conv1", "norm2", "conv2")]
            assert shapes == [(size, size, n) for n in (c, 128, 128, 32)]
            c += 32
        if block < 4:
            assert rows[f"features.transition{block}.norm"].output_shape == (size, size, c)
            c, size = c // 2, size // 2
            assert rows[f"features.transition{block}.pool"].output_shape == (size, size, c)
    assert (rows["features.norm5"].output_shape, rows["features.pool"].output_shape) == ((1, 1, 1920), (1920,))
    assert [rows[f"classifier.{k}"].output_shape for k in (0, 3, 6, 9)] == [(1024,), (512,), (256,), (7,)]


def test_densenet_repeats_a_grey_image():
    grey, coloured = (models.densenet201_fer(channels=c, width=0.1, layers=(2, 1), rng=0).eval() for c in (1, 3))
    x = np.random.default_rng(0).random((2, 48, 48, 1), dtype="float32")
    assert np.array_equal(grey(x), coloured(x.repeat(3, axis=-1)))
    assert grey.state_dict().keys() == coloured.state_dict().keys()


def test_densenet_has_torchvisions_names_and_he_weights():
    model = models.densenet201_fer(layers=(1, 1), rng=0)
    names = [key for key in model.state_dict() if key.startswith("features") and "running" not in key]
    layer = ["norm1.weight", "norm1.bias", "conv1.weight", "norm2.weight", "norm2.bias", "conv2.weight"]
    transition = ["transition1.norm.weight", "transition1.norm.bias", "transition1.conv.weight"]
    wanted = ["conv0.weight", "norm0.weight", "norm0.bias", *(f"denseblock1.denselayer1.{n}" for n in layer)]
    wanted += [*transition, *(f"denseblock2.denselayer1.{n}" for n in layer), "norm3.weight", "norm3.bias"]
    assert names == [f"features.{name}" for name in wanted]
    for key, fan_in in (("features.conv0", 147), ("features.denseblock1.denselayer1.conv2", 9 * 128)):
        w = model.state_dict()[f"{key}.weight"]
        assert w.var() == pytest.approx(2 / fan_in, rel=4 * (2 / w.size) ** 0.5)


@pytest.mark.parametrize(("layers", "least"), [((1,), 1), ((1, 1), 5), ((1, 1, 1), 13), ((1, 1, 1, 1), 29)])
def test_densenet_of_the_smallest_image(layers, least):
    build = functools.partial(models.densenet201_fer, layers=layers, width=0.1, rng=0)
    assert build(input_size=least).eval()(np.ones((1, least, least, 1), "float32")).shape == (1, 7)
    with pytest.raises(ValueError, match=rf"input_size is {least - 1}, wanted at least {least}"):
        build(input_size=least - 1)


@pytest.mark.parametrize(("name", "least"), [("vgg_fer", 16), ("resnet18_fer", 1), ("mini_xception", 5)])
def test_the_smallest_image(name, least):
    assert models.build(name, input_size=least, width=0.1).eval()(np.ones((1, least, least, 1), "float32")).shape == (
        1,
        7,
    )
    with pytest.raises(ValueError, match=f"{name}: input_size is {least - 1}, wanted at least {least}"):
        models.build(name, input_size=least - 1)


def test_vgg_of_the_papers_crops_and_of_narrow_linear_layers():
    rows = models.vgg_fer(input_size=40, hidden=100, p=0.4, rng=0).summary((40, 40, 1)).rows
    assert [row.layer for row in rows if row.path.startswith("classifier")] == [
        *("Linear(2048, 100)", "ReLU()", "Dropout(0.4)", "Linear(100, 100)", "ReLU()", "Dropout(0.4)", "Linear(100, 7)")
    ]


def test_residual_blocks_change_shape_where_resnet_does():
    model = models.resnet18_fer(width=0.1, rng=0)
    shortcuts = {path: m.shortcut for path, m in model.named_modules() if isinstance(m, nn.Residual)}
    assert len(shortcuts) == 8
    changing = [path for path, shortcut in shortcuts.items() if not isinstance(shortcut, nn.Identity)]
    assert changing == [f"layer{k}.0.residual" for k in (2, 3, 4)]
    w = models.resnet18_fer(rng=0).state_dict()["layer4.1.residual.body.conv2.weight"]
    assert w.var() == pytest.approx(2 / (9 * 512), rel=4 * (2 / w.size) ** 0.5)


def test_a_separable_convolution_has_one_kernel_a_channel():
    first, *blocks = (m for m in models.mini_xception(rng=0) if isinstance(m, nn.Residual))
    depthwise, pointwise = first.body[0], first.body[1]
    assert depthwise.weight.shape == (3, 3, 1, 8)
    assert pointwise.weight.shape == (1, 1, 8, 16)
    assert [block.body[5].weight.shape for block in blocks] == [(1, 1, c, c) for c in (32, 64, 128)]


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
