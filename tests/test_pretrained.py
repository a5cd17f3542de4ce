"""Trained models that come with the package: what is stored, and what comes back."""

import json
from pathlib import Path

import numpy as np
import pytest

from minicnn import files, models, nn

FOLDER = Path(models.__file__).parent / "weights"
X = np.random.default_rng(0).random((3, 48, 48, 1), dtype="float32")


def trained(name="mini_xception", **options):
    """A model whose running statistics have seen something."""
    model = models.build(name, rng=0, **options).train()
    for _ in range(3):
        model(X)
    return model.eval()


@pytest.fixture
def folder(tmp_path):
    models.export_weights(trained(), tmp_path / "xception.safetensors", {"class_names": json.dumps(list("abcdefg"))})
    models.export_weights(trained("leaky_bn_cnn", width=0.2), tmp_path / "leaky.safetensors")
    (tmp_path / "README").write_text("no weights")
    return tmp_path


def test_names(folder):
    assert models.pretrained_names(folder) == ["leaky", "xception"]
    assert models.pretrained_names(folder / "none") == []


@pytest.mark.parametrize(("name", "built"), [("xception", {}), ("leaky", {"name": "leaky_bn_cnn", "width": 0.2})])
def test_what_comes_back_is_float32_and_nearly_what_was_written(name, built, folder):
    model, again = trained(**built), models.pretrained(name, folder)
    assert not any(module.training for module in again.modules())
    for key, a in model.state_dict().items():
        b = again.state_dict()[key]
        assert b.dtype == "float32"
        exact = a.ndim < 2
        assert np.array_equal(a, b) if exact else np.abs(a - b).max() <= 2**-11 * np.abs(a).max()
    z = again(X)
    assert z.dtype == "float32"
    np.testing.assert_allclose(z, model(X), atol=5e-3 * np.abs(z).max())
    assert not np.array_equal(z, model(X))


def test_the_file_is_half_as_large_and_says_what_it_is(folder):
    path = models.pretrained_path("leaky", folder)
    model = models.pretrained("leaky", folder)
    models.save(model, folder / "whole")
    assert path.stat().st_size < 0.6 * (folder / "whole").stat().st_size
    state, _ = files.read_arrays(path)
    assert {a.dtype.name for a in state.values() if a.ndim > 1} == {"float16"}
    assert {a.dtype.name for a in state.values() if a.ndim == 1} == {"float32"}
    assert json.loads(files.read_metadata(models.pretrained_path("xception", folder))["class_names"]) == list("abcdefg")
    models.export_weights(model, folder / "again", files.read_metadata(path))  # a file's metadata may be handed on
    assert np.array_equal(models.load(folder / "again")(X), model(X))


def test_a_file_of_float16_alone_is_float32_too(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7, bias=False, rng=0))
    models.export_weights(model, tmp_path / "plain.safetensors")
    assert models.pretrained("plain", tmp_path)(X).dtype == "float32"


@pytest.mark.parametrize("value", [np.nan, np.inf, -70000.0])
def test_what_float16_does_not_hold(value, tmp_path):
    model = nn.Sequential(nn.Linear(2, 2, rng=0))
    model[0].weight.data[1, 0] = value
    with pytest.raises(ValueError, match=r"export_weights: 0.weight holds numbers that float16 does not"):
        models.export_weights(model, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_errors(folder, tmp_path_factory):
    with pytest.raises(
        ValueError, match=r"no pretrained model is named 'leak'; did you mean leaky\? There are: leaky, x"
    ):
        models.pretrained("leak", folder)
    with pytest.raises(ValueError, match=r"no pretrained model is named 'zzz'\. There are: leaky, xception"):
        models.pretrained("zzz", folder)
    with pytest.raises(ValueError, match=r"no pretrained model is named 'x'\. There are: none"):
        models.pretrained("x", tmp_path_factory.mktemp("empty"))
    path = models.pretrained_path("leaky", folder)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        models.pretrained("leaky", folder)


@pytest.mark.parametrize("name", [*models.pretrained_names(), None])
def test_what_the_package_holds(name):
    assert models.pretrained_names() == models.pretrained_names(FOLDER)
    if name is not None:
        path = models.pretrained_path(name)
        metadata = files.read_metadata(path)
        shape, classes = (json.loads(metadata[key]) for key in ("input_shape", "class_names"))
        assert models.pretrained(name)(np.zeros((1, *shape), "float32")).shape == (1, len(classes))
        assert path.stat().st_size <= 12 * 2**20
