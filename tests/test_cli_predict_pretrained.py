"""`minicnn predict` with a pretrained model, on a part of a photograph, and with the ids that data bring along."""

import numpy as np
import pytest
from commands import call, refused, said
from fer2013_files import FACES, course
from PIL import Image

from minicnn import models
from minicnn.cli import predict

GREY = (48, 48, 1)
RNG = np.random.default_rng(0)
FACE = RNG.integers(0, 256, (48, 48)).astype(np.uint8)
PHOTO = RNG.integers(0, 256, (48, 48, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of a small model that nobody trained."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    models.save(models.build("leaky_bn_cnn", width=0.1, rng=0), path)
    return path


def saved(image, name="image.png", **options):
    image.save(name, **options)
    return name


def test_a_box_is_taken_for_the_photograph(model, capsys):
    photo = RNG.integers(0, 256, (200, 300)).astype(np.uint8)
    photo[30:78, 100:148] = FACE
    name = saved(Image.fromarray(photo))
    np.testing.assert_array_equal(predict.read_image(name, GREY, (100, 30, 48, 48))[:, :, 0], FACE)
    np.testing.assert_array_equal(predict.read_image(name, GREY, (95, 30, 58, 48))[:, :, 0], FACE)  # its square
    assert predict.read_image(name, GREY, (0, 0, 300, 200)).shape == GREY
    out, err = call(capsys, "predict", model, name, "--box", "100,30,48,48")
    assert said(err) == "each image: largest centred square of the box 100,30,48,48, 48x48, grey\n"
    alone, _ = call(capsys, "predict", model, saved(Image.fromarray(FACE)))
    assert out == alone
    line = refused(capsys, "predict", model, name, "--box", "0,10,48,48")
    assert line == (
        "minicnn predict: image.png: the box 0,10,48,48 (x, y, width, height) reaches outside the image of 48x48\n"
    )


def test_a_box_counts_on_the_upright_photograph():
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.zeros((60, 100), np.uint8)
    wide[10:58, 50:98] = FACE
    name = saved(Image.fromarray(np.ascontiguousarray(np.rot90(wide))), exif=exif)  # 100 high and 60 wide in the file
    np.testing.assert_array_equal(predict.read_image(name, GREY, (50, 10, 48, 48))[:, :, 0], FACE)


@pytest.mark.parametrize("box", ["1,2,3", "1,2,3,x", "-1,0,5,5", "1,2,0,4", ""])
def test_what_is_no_box(box, model, capsys):
    message = "an empty box" if box == "1,2,0,4" else "wanted x,y,width,height in pixels, such as 120,80,200,200"
    line = refused(capsys, "predict", model, "a.png", f"--box={box}")
    assert line == f"minicnn predict: argument --box: {box!r}: {message}; see minicnn predict --help\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Two models nobody trained, as if they came with the package."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(models.pretrained, "__defaults__", (folder,))
    monkeypatch.setattr(models.pretrained_path, "__defaults__", (folder,))
    monkeypatch.setattr(models.pretrained_names, "__defaults__", (folder,))
    for seed, name in enumerate(("small", "another")):
        metadata = {"input_shape": "[48, 48, 1]", "class_names": '["a", "b", "c", "d", "e", "f", "g"]'}
        models.export_weights(models.leaky_bn_cnn(width=0.1, rng=seed), folder / f"{name}.safetensors", metadata)
    return folder


@pytest.mark.parametrize(("words", "name"), [((), "another"), (("--model", "small"), "small")])
def test_a_photograph_alone_goes_to_a_pretrained_model(words, name, package, capsys):
    photo = saved(Image.fromarray(PHOTO))
    out, err = call(capsys, "predict", photo, *words)
    assert said(err) == f"model: {name}, pretrained\neach image: largest centred square, 48x48, grey\n"
    z = models.pretrained(name)((predict.read_image(photo, GREY)[None] / 255).astype("float32"))[0]
    p = np.exp(z) / np.exp(z).sum()
    assert out.startswith(f"image.png: {'abcdefg'[p.argmax()]} {p.max():.3f} (")
    assert call(capsys, "predict", package / f"{name}.safetensors", photo)[0] == out  # it is a model file too
    assert call(capsys, "models")[0].endswith("\npretrained: another, small\n")


def test_what_cannot_be_chosen(package, capsys):
    photo = saved(Image.fromarray(PHOTO))
    line = refused(capsys, "predict", photo, "--model", "smal")
    assert line.endswith("no pretrained model is named 'smal'; did you mean small? There are: another, small\n")
    file = package / "small.safetensors"
    line = refused(capsys, "predict", file, photo, "--model", "small")
    assert line == f"minicnn predict: give a run ({file}) or --model, one of the two\n"
    for path in package.iterdir():
        path.unlink()
    line = refused(capsys, "predict", photo)
    assert line == (
        "minicnn predict: image.png is no run folder and no model file, and no pretrained model comes with this "
        "minicnn\n"
    )
    line = refused(capsys, "predict", "--data", "synthetic")
    assert line == "minicnn predict: no run was given, and no pretrained model comes with this minicnn\n"


def test_the_csv_has_the_ids_of_the_data(model, tmp_path, capsys):
    course(labels=False)(tmp_path, FACES)
    wanted = {"test.csv": range(100, 107), "train.csv": range(14), ".": range(21)}  # not all of both have one
    for name, ids in wanted.items():
        call(capsys, "predict", model, "--data", tmp_path / name, "--csv", "out.csv")
        with open("out.csv") as file:
            header, *rows = file.read().splitlines()
        assert header == "id,label"
        assert [row.split(",")[0] for row in rows] == [str(i) for i in ids]
