"""`minicnn predict` on every kind of photograph: what the model gets to see, and what is refused."""

import struct
import zlib

import numpy as np
import pytest
from commands import call, refused, said, write_faces
from PIL import Image, ImageOps

from minicnn import models
from minicnn.cli import predict

GREY, COLOUR = (48, 48, 1), (48, 48, 3)
RNG = np.random.default_rng(0)
FACE = RNG.integers(0, 256, (48, 48)).astype(np.uint8)
PHOTO = RNG.integers(0, 256, (48, 48, 3)).astype(np.uint8)
LUMA = np.asarray(Image.fromarray(PHOTO).convert("L"))  # 0.299 R + 0.587 G + 0.114 B


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


def palette():
    return Image.fromarray(FACE).convert("P")


def test_grey_and_colour_become_one_another():
    np.testing.assert_array_equal(predict.read_image(saved(Image.fromarray(FACE)), GREY)[:, :, 0], FACE)
    np.testing.assert_array_equal(predict.read_image(saved(Image.fromarray(PHOTO)), GREY)[:, :, 0], LUMA)
    np.testing.assert_array_equal(predict.read_image(saved(Image.fromarray(PHOTO)), COLOUR), PHOTO)
    grey_in_colour = predict.read_image(saved(Image.fromarray(FACE)), COLOUR)
    np.testing.assert_array_equal(grey_in_colour, np.repeat(FACE[:, :, None], 3, axis=2))


MODES = {  # what a grey face may be stored as, and how far off it may come back
    "gif": (lambda: saved(Image.fromarray(FACE), "a.gif"), 0),
    "palette": (lambda: saved(palette()), 0),
    "palette with one transparent colour": (lambda: saved(palette(), transparency=3), 0),
    "palette with transparencies": (lambda: saved(palette(), transparency=bytes(range(256))), 0),
    "rgba": (lambda: saved(Image.fromarray(np.dstack([FACE] * 3 + [np.full_like(FACE, 9)]))), 0),
    "grey with alpha": (lambda: saved(Image.fromarray(FACE).convert("LA")), 0),
    "16 bits": (lambda: saved(Image.fromarray(FACE.astype("uint16") * 256 + 77)), 0),
    "16 bits, TIFF": (lambda: saved(Image.fromarray(FACE.astype("uint16") * 256 + 77), "a.tif"), 0),
    "16 bits, big-endian": (
        lambda: saved(
            Image.frombytes("I;16B", (48, 48), (FACE.astype("uint16") * 256 + 77).astype(">u2").tobytes()), "a.tif"
        ),
        0,
    ),
    "webp": (lambda: saved(Image.fromarray(FACE).convert("RGB"), "a.webp", lossless=True), 1),
    "jpeg": (lambda: saved(Image.fromarray(FACE), "a.jpg", quality=100, subsampling=0), 4),
    "cmyk": (lambda: saved(Image.fromarray(FACE).convert("RGB").convert("CMYK"), "a.tif"), 1),
    "bmp": (lambda: saved(Image.fromarray(FACE), "a.bmp"), 0),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_grey_face_in_any_mode(mode):
    make, most = MODES[mode]
    got = predict.read_image(make(), GREY)
    assert (got.shape, got.dtype) == (GREY, np.uint8)
    assert np.abs(got[:, :, 0].astype(int) - FACE).max() <= most


def test_black_and_white():
    got = predict.read_image(saved(Image.fromarray(FACE > 127)), GREY)
    np.testing.assert_array_equal(got[:, :, 0], np.where(FACE > 127, 255, 0))


@pytest.mark.parametrize("wide", [True, False])
def test_the_largest_centred_square_is_taken(wide):
    image = np.zeros((48, 96), np.uint8)
    image[:, 24:72] = FACE
    np.testing.assert_array_equal(
        predict.read_image(saved(Image.fromarray(image if wide else image.T)), GREY)[:, :, 0], FACE if wide else FACE.T
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_set_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {  # how a camera stores what is upright: the inverse of what the tag asks for
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.T,
        6: lambda x: np.rot90(x),
        7: lambda x: x[::-1, ::-1].T,
        8: lambda x: np.rot90(x, -1),
    }[orientation](FACE)
    got = predict.read_image(saved(Image.fromarray(np.ascontiguousarray(turned)), exif=exif), GREY)
    np.testing.assert_array_equal(got[:, :, 0], FACE)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (61, 37), (333, 777), (48, 49)])
def test_any_size(size):
    got = predict.read_image(saved(Image.new("RGB", size, (200, 100, 50)), "a.jpg", quality=95), GREY)
    assert got.shape == GREY
    assert np.abs(got.astype(int) - 124).max() <= 2  # 0.299 200 + 0.587 100 + 0.114 50 = 124.2


def test_larger_photographs_are_averaged_not_sampled():
    fine = np.indices((480, 480)).sum(axis=0) % 2 * 255
    assert np.abs(predict.read_image(saved(Image.fromarray(fine.astype(np.uint8))), GREY).astype(int) - 127).max() <= 3


def test_several_photographs_at_once(model, capsys):
    names = [saved(Image.fromarray(FACE), "a face.png"), saved(Image.fromarray(PHOTO), "b.jpg"), "a face.png"]
    out, err = call(capsys, "predict", model, *names)
    first, _, again = out.splitlines()
    assert first == again
    assert first.startswith("a face.png: ")
    assert said(err) == "each image: largest centred square, 48x48, grey\n"
    x = np.stack([predict.read_image(name, GREY) for name in names])
    z = models.load(model)((x / 255).astype("float32"))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    best = np.argsort(-p[1])[:3]
    scores = [f"{k} {p[1, k]:.3f}" for k in best]  # a bare model knows no names
    assert out.splitlines()[1] == f"b.jpg: {scores[0]} ({scores[1]}, {scores[2]})"


def test_the_csv_has_the_names_of_the_images(model, capsys):
    names = [saved(Image.fromarray(FACE), "a, face.png"), saved(Image.fromarray(FACE.T), "b.png")]
    out, _ = call(capsys, "predict", model, *names, "--csv", "out.csv")
    assert out == "2 predictions written to out.csv\n"
    with open("out.csv") as file:
        header, first, second = file.read().splitlines()
    assert header == "id,label"
    assert first.startswith('"a, face.png",')
    assert second[:6] == "b.png,"
    assert int(second[6:]) in range(7)


def test_a_colour_model_of_another_shape_gets_what_it_was_trained_on(capsys):
    model = models.build("leaky_bn_cnn", width=0.1, channels=3, input_size=(32, 40), classes=2, rng=0)
    models.save(model, "m", {"input_shape": "[32, 40, 3]", "class_names": '["left", "right"]'})
    out, err = call(capsys, "predict", "m", saved(Image.fromarray(PHOTO)))
    assert said(err) == "each image: largest centred square, 32x40, colour\n"
    z = models.load("m")((predict.read_image("image.png", (32, 40, 3))[None] / 255).astype("float32"))[0]
    p = np.exp(z) / np.exp(z).sum()
    names = ("left", "right") if p[0] > p[1] else ("right", "left")
    assert out == f"image.png: {names[0]} {p.max():.3f} ({names[1]} {p.min():.3f})\n"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side):
    """A PNG of a few bytes that declares side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg():
    saved(Image.fromarray(PHOTO).resize((200, 200)), "whole.jpg")
    with open("whole.jpg", "rb") as file:
        return file.read()


FILES = {
    "text": (lambda: b"no image", r"x: not an image that can be read \(cannot identify image file"),
    "empty": (lambda: b"", r"x: not an image that can be read \(cannot identify image file"),
    "cut": (lambda: jpeg()[:1000], r"x: not an image that can be read \(.*truncated"),
    "bomb": (lambda: bomb(12_000), r"x: too large an image \(Image size \(144000000 pixels\)"),
    "large bomb": (lambda: bomb(60_000), r"x: too large an image \(Image size \(3600000000 pixels\)"),
    "zip": (lambda: b"PK\3\4 and so on", r"x: not an image that can be read"),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_image_is_refused(kind, model, capsys):
    data, message = FILES[kind]
    content = data()
    with open("x", "wb") as file:
        file.write(content)
    with pytest.raises(ValueError, match=message):
        predict.read_image("x", GREY)
    line = refused(capsys, "predict", model, "x")
    assert line.startswith("minicnn predict: x: ")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_range_are_refused(mode, model, capsys):
    name = saved(Image.fromarray(FACE).convert(mode), "x.tif")
    assert f"x.tif: not an image that can be read (its pixels are numbers without a range (mode {mode}), wanted 8" in (
        refused(capsys, "predict", model, name)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "minicnn predict: give images or --data, one of the two\n"),
        (("a.png", "--data", "synthetic"), "minicnn predict: give images or --data, one of the two\n"),
        (("none.png",), "minicnn predict: none.png: no such file\n"),
        ((".",), "minicnn predict: .: no such file\n"),
        (("--data", "none.csv"), "minicnn predict: none.csv: no such file or folder\n"),
        (("--data", "synthetic", "--box", "0,0,9,9"), "minicnn predict: --box is for photographs, not for --data\n"),
    ],
)
def test_usage(words, message, model, capsys):
    assert refused(capsys, "predict", model, *words) == message


def test_data_of_another_size_or_split_are_refused(model, tmp_path, capsys):
    csv = write_faces(tmp_path, 5)
    models.save(models.build("leaky_bn_cnn", width=0.1, input_size=32), "m", {"input_shape": "[32, 32, 1]"})
    line = refused(capsys, "predict", "m", "--data", csv)
    assert "the images are (48, 48, 1) (height, width, channels), the model wants (32, 32, 1)" in line
    line = refused(capsys, "predict", model, "--data", csv, "--split", "PrivateTest")
    assert "fer2013.csv: no split 'PrivateTest' here; there is Training, PublicTest" in line


def test_pillow_itself_would_clip_sixteen_bits():
    """Why `predict` does it itself; when this fails, it need not any more."""
    image = Image.fromarray(FACE.astype("uint16") * 256 + 77)
    assert np.asarray(image.convert("L")).min() == 77
    assert ImageOps.exif_transpose(image).mode == "I;16"
