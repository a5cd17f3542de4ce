"""A model comes back from its file as it was, or the file is refused; and nothing here knows pickle."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from subjects import bits, normal, stirred

import minicnn
from minicnn import files, models, nn
from minicnn.models import load, save

SHARED, SHARED_LINEAR = nn.ReLU(), nn.Linear(6, 6, rng=0)
IMAGE, ROW = (5, 4, 6), (6,)
MODELS = [
    (nn.Linear(6, 3, bias=False), ROW),
    (nn.Linear(6, 3, rng=3), ROW),
    (nn.Conv2d(6, 4, (3, 2), (2, 1), padding=(1, 0), dilation=(1, 2), groups=2), IMAGE),
    (nn.Conv2d(6, 4, kernel_size=3, bias=False, rng=np.random.default_rng(0)), IMAGE),
    (nn.ConvTranspose2d(6, 3, 2, stride=2, output_padding=1), IMAGE),
    (nn.BatchNorm1d(6), ROW),
    (nn.BatchNorm2d(6, eps=0.1, momentum=0.3), IMAGE),
    (nn.LayerNorm(6, eps=0.1), ROW),
    (nn.GroupNorm(3, 6), IMAGE),
    (nn.MaxPool2d((3, 2), 2, 1, True), IMAGE),
    (nn.AvgPool2d(3, padding=1, count_include_pad=False), IMAGE),
    (nn.GlobalAvgPool2d(), IMAGE),
    (nn.ZeroPad2d((1, 0, 2, 1)), IMAGE),
    (nn.Flatten(), IMAGE),
    (nn.Identity(), IMAGE),
    (nn.Dropout(0.25), ROW),
    (nn.Dropout2d(rng=1), IMAGE),
    (nn.ReLU(), ROW),
    (nn.LeakyReLU(0.2), ROW),
    (nn.PReLU(), ROW),
    (nn.PReLU((5, 4, 6), init=0.1), IMAGE),
    (nn.ELU(alpha=0.5), ROW),
    (nn.GELU(True), ROW),
    (nn.SiLU(), ROW),
    (nn.Sigmoid(), ROW),
    (nn.Tanh(), ROW),
    (nn.Softplus(), ROW),
    (nn.Softmax(), ROW),
    (nn.Sequential(), ROW),
    (nn.Sequential({"first": nn.Linear(6, 6), "_act": nn.ReLU(), "in": nn.Sequential(nn.Linear(6, 2))}), ROW),
    (nn.Sequential(nn.Linear(6, 6), nn.ReLU()).append(nn.Linear(6, 1)), ROW),
    (nn.Sequential(SHARED_LINEAR, SHARED, SHARED_LINEAR, SHARED), ROW),
    (nn.Residual(nn.Conv2d(6, 6, 3, padding=1)), IMAGE),
    (nn.Residual(SHARED_LINEAR, nn.Sequential(SHARED_LINEAR, nn.Tanh())), ROW),
    (nn.Concat(nn.Conv2d(6, 2, 1), nn.Residual(nn.ReLU()), nn.Concat(nn.Identity())), IMAGE),
    (nn.DenseLayer(6, 2, bottleneck=3), IMAGE),
    (nn.Sequential(nn.DenseBlock(6, 3, 2), nn.Conv2d(12, 3, 1)), IMAGE),
    (models.build("leaky_bn_cnn", width=0.1, classes=3, input_size=(16, 32)), (16, 32, 1)),
]
every_model = pytest.mark.parametrize(("model", "shape"), MODELS, ids=lambda m: repr(m).replace("\n", "")[:60])


@every_model
def test_a_model_comes_back_as_it_was(tmp_path, model, shape):
    model, x = stirred(model.train()), normal(3, *shape)
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert bits(again) == bits(model)
    assert not any(m.training for m in again.modules()), "in evaluation mode"
    assert model.training, "the model that was saved is left in its own"
    assert type(again) is type(model)
    assert [type(m) for m in again.modules()] == [type(m) for m in model.modules()]
    assert np.array_equal(again(x), model.eval()(x))
    save(again, tmp_path / "n")
    assert files.read_metadata(tmp_path / "n") == files.read_metadata(tmp_path / "m"), "and so it does again"


def test_the_table_has_every_layer():
    layers = {n for n in nn.__all__ if isinstance(getattr(nn, n), type) and issubclass(getattr(nn, n), nn.Module)}
    assert layers - {"Module"} == {type(m).__name__ for model, _ in MODELS for m in model.modules()} & layers


@every_model
def test_equal_models_are_equal_files(tmp_path, model, shape):
    save(model, tmp_path / "m")
    save(model, tmp_path / "n")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_is_kept(tmp_path, dtype):
    model = stirred(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))).astype(dtype)
    save(model, tmp_path / "m")
    assert bits(load(tmp_path / "m")) == bits(model)


def trained():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.BatchNorm2d(2), nn.Dropout(0.5, rng=0))
    for seed in range(3):
        model(normal(4, 5, 5, 1, seed=seed))
    return model


def test_running_statistics_are_saved(tmp_path):
    save(trained(), tmp_path / "m")
    again = load(tmp_path / "m")
    assert again[1].running_mean.any()
    assert np.array_equal(again[1].running_mean, trained()[1].running_mean)
    assert np.array_equal(again[1].running_var, trained()[1].running_var)


def test_a_loaded_model_trains_on(tmp_path):
    save(trained(), tmp_path / "m")
    again = load(tmp_path / "m").train()
    again.backward(again(normal(4, 5, 5, 1)))
    assert all(p.grad is not None for p in again.parameters())


def test_metadata_of_the_users_goes_along(tmp_path):
    save(nn.ReLU(), tmp_path / "m", {"class_names": '["a"]', "minicnn": "overruled"})
    assert files.read_metadata(tmp_path / "m")["class_names"] == '["a"]'
    assert isinstance(load(tmp_path / "m"), nn.ReLU)


CHANGES = [
    (lambda m: setattr(m, "3", nn.Linear(8, 2, rng=1)), "a layer replaced"),
    (lambda m: delattr(m, "3"), "a layer taken away"),
    (lambda m: m.append(nn.Softmax()), "a layer added"),
    (lambda m: setattr(m[1], "body", nn.GELU()), "another body"),
    (lambda m: setattr(m[1], "shortcut", nn.Conv2d(2, 2, 1, rng=3)), "a shortcut given"),
    (lambda m: m[2][0].branches.append(nn.Tanh()), "one branch more"),
    (lambda m: m[2][0].branches.__setitem__(0, nn.Tanh()), "another branch"),
    (lambda m: setattr(m[0], "bias", None), "a bias taken away"),
    (lambda m: m[0].options.update(padding=1), "an option"),
    (lambda m: setattr(m[2][1], "p", 0.125), "a probability"),
    (lambda m: setattr(m[2][2], "momentum", 0.5), "a momentum"),
    (lambda m: setattr(m[2][2], "eps", 0.5), "an epsilon"),
]


@pytest.mark.parametrize("change", [c for c, _ in CHANGES], ids=[name for _, name in CHANGES])
def test_a_model_changed_by_hand_is_saved_as_it_is(tmp_path, change):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, rng=0),
        nn.Residual(nn.ReLU()),
        nn.Sequential(nn.Concat(nn.ReLU(), nn.Identity()), nn.Dropout(0.5), nn.BatchNorm2d(4), nn.GlobalAvgPool2d()),
    ).append(nn.Linear(4, 3, rng=1))
    plain = bits(model), repr(model)
    change(model)
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert bits(again) == bits(model)
    assert (bits(again), repr(again)) != plain
    for ours, theirs in zip(again.modules(), model.modules(), strict=True):
        assert type(ours) is type(theirs)
        for name in ("p", "eps", "momentum", "options"):
            assert getattr(ours, name, None) == getattr(theirs, name, None)


# what cannot be loaded


def written(tmp_path, architecture, arrays=None, **metadata):
    path = tmp_path / "m"
    described = {"minicnn": models.saved.FORMAT}
    if architecture is not None:
        described["architecture"] = architecture if isinstance(architecture, str) else json.dumps(architecture)
    files.write_arrays(path, arrays or {}, described | metadata)
    return path


RELU = {"class": "ReLU", "config": {}}
ARCHITECTURES = [
    (None, r"m: its model cannot be built: 'architecture'"),
    ("{", r"m: its model cannot be built: "),
    ({"class": "ReLU"}, r"its model cannot be built: 'config'"),
    (
        {"class": "ReLU", "config": {"slope": 1}},
        r"its model cannot be built: .*unexpected keyword argument 'slope'",
    ),
    ({"class": "Linear", "config": {}}, r"its model cannot be built: .*missing 2 required"),
    ({"again": 0}, r"its model cannot be built: "),
    ([RELU], r"its model cannot be built: it is a tuple, wanted a Module"),
    (3, r"its model cannot be built: it is a int, wanted a Module"),
    ({"class": "Conv3d", "config": {}}, r"no Module named Conv3d is known: import the file that defines it first"),
    ({"class": ":Mine", "config": {}}, r"no Module named Mine is known: import"),
    ({"class": "Module._registry", "config": {}}, r"no Module named Module\._registry is known"),
    ({"class": "Linear", "config": {"in_features": 2, "out_features": 3}}, r"m: .*bias: missing; weight: missing"),
    ({"class": "GroupNorm", "config": {"num_groups": 2, "num_channels": 3}}, r"m: .*num_groups=2 must divide"),
]


@pytest.mark.parametrize(("architecture", "message"), ARCHITECTURES, ids=[str(a)[:40] for a, _ in ARCHITECTURES])
def test_an_architecture_that_cannot_be_read(tmp_path, architecture, message):
    with pytest.raises(ValueError, match=message):
        load(written(tmp_path, architecture))


def test_weights_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"m: .*x: unexpected"):
        load(written(tmp_path, RELU, {"x": np.ones(1)}))


@pytest.mark.parametrize(
    ("metadata", "found"),
    [({}, "no minicnn metadata"), ({"minicnn": "minicnn 99"}, "minicnn 99"), ({"format": "pt"}, "")],
)
def test_a_file_of_another_kind(tmp_path, metadata, found):
    files.write_arrays(tmp_path / "m", {"x": np.ones(2)}, metadata)
    with pytest.raises(ValueError, match=rf"m: not a model saved by minicnn\.save \({found}.*, wanted 'minicnn 1'\)"):
        load(tmp_path / "m")


def test_a_damaged_file(tmp_path):
    path = tmp_path / "m"
    save(stirred(nn.Linear(3, 4)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    with pytest.raises(ValueError, match=r"m: damaged: its contents do not fit its checksum"):
        load(path)
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match=r"m: not a whole safetensors file"):
        load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "nowhere")


def test_files_of_the_first_format_still_load(tmp_path):
    """Sequential's layers as a plain dict, arguments with their defaults left out: as the first version wrote them."""
    layers = {"dict": {"0": {"class": "Linear", "config": {"in_features": 2, "out_features": 3, "bias": False}}}}
    architecture = {"class": "Sequential", "config": {"layers": layers}}
    weight = normal(2, 3)
    model = load(written(tmp_path, architecture, {"0.weight": weight}))
    assert np.array_equal(model(np.eye(2, dtype="float32")), weight)


def test_nothing_imports_pickle():
    def imported(path):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield (node.module or "").partition(".")[0]

    sources = sorted(Path(minicnn.__file__).parent.rglob("*.py"))
    assert len(sources) > 50
    guilty = {
        p.name: set(imported(p)) & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
        for p in sources
    }
    assert not {name: found for name, found in guilty.items() if found}
    assert not any("allow_pickle=True" in p.read_text(encoding="utf-8") for p in sources)
