"""minicnn predict: what does a trained model say of photographs, or of a data set?"""

import argparse
import csv
import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files, models, nn, optim
from minicnn.cli import runs
from minicnn.train import Trainer

HELP = "say what a trained model sees in images"
LONGEST_HEADER = 100_000_000  # bytes, of a safetensors file

Box = tuple[int, int, int, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn predict`."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="a run folder or a model file (where there is none, a pretrained model), then photographs, of each of "
        "which the largest centred square is taken",
    )
    parser.add_argument("--model", metavar="NAME", help="which pretrained model (`minicnn models` lists them)")
    parser.add_argument("--box", type=_box, metavar="X,Y,W,H", help="where the face is, in pixels: taken for the photo")
    parser.add_argument("--data", metavar="PATH", help="a data set in place of images")
    parser.add_argument("--split", help="which of its splits")
    parser.add_argument("--csv", metavar="OUT", help="write id,label (Kaggle's submission format)")


def run(args: argparse.Namespace) -> int:
    """Print a line per image, or write a CSV file."""
    named = args.paths[:1] if args.paths and _is_model(args.paths[0]) else []
    photographs = args.paths[len(named) :]
    if bool(photographs) == bool(args.data):
        raise ValueError("give images or --data, one of the two")
    if named and args.model:
        raise ValueError(f"give a run ({named[0]}) or --model, one of the two")
    if args.data and args.box:
        raise ValueError("--box is for photographs, not for --data")
    for path in photographs:
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file")
    model, metadata = runs.load_model(named[0]) if named else _pretrained(args.model, photographs)
    images, ids = _dataset(args, metadata) if args.data else _photographs(photographs, args.box, metadata)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    scores = trainer.predict(images)
    names = metadata.get("class_names", [str(k) for k in range(scores.shape[1])])
    if args.csv:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "label"])
        writer.writerows(zip(ids, scores.argmax(1), strict=True))
        files.write_text(args.csv, text.getvalue())
        print(f"{len(ids):,} predictions written to {args.csv}")
        return 0
    for name, row in zip(ids, scores, strict=True):
        first, *others = np.argsort(-row)[:3]
        rest = ", ".join(f"{names[k]} {row[k]:.3f}" for k in others)
        print(f"{name}: {names[first]} {row[first]:.3f} ({rest})")
    return 0


def _dataset(args: argparse.Namespace, metadata: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
    """(images, what they are called) of a data set: its ids, or their numbers where not every image has one."""
    dataset = runs.read_data(args.data, split=args.split)
    runs.require_shape(dataset, metadata)
    if dataset.ids is not None and all(dataset.ids):
        return dataset.images, dataset.ids.tolist()
    return dataset.images, [str(i) for i in range(len(dataset))]


def _photographs(paths: list[str], box: Box | None, metadata: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
    """(images, their paths), after a line that says what is made of each."""
    shape = runs.input_shape(metadata)
    images = np.stack([read_image(path, shape, box) for path in paths])
    of_box = f" of the box {','.join(map(str, box))}" if box else ""
    print(f"each image: largest centred square{of_box}, {shape[0]}x{shape[1]}, {_colour(shape)}", file=sys.stderr)
    return images, paths


def read_image(path: str, shape: tuple[int, int, int], box: Box | None = None) -> np.ndarray:
    """The largest centred square of a photograph, or of the box in it, upright, as uint8 (H, W, C).

    box is (x, y, width, height) in pixels of the upright photograph.  ValueError where the file is no image, or where
    the box reaches outside it.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                upright = _eight_bits(ImageOps.exif_transpose(file)).convert("L" if shape[2] == 1 else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path}: too large an image ({error})") from error
    except Exception as error:  # a damaged image raises nearly anything
        raise ValueError(f"{path}: not an image that can be read ({error})") from error
    if box:
        x, y, w, h = box
        if x + w > upright.width or y + h > upright.height:
            size = f"{upright.width}x{upright.height}"
            raise ValueError(
                f"{path}: the box {x},{y},{w},{h} (x, y, width, height) reaches outside the image of {size}"
            )
        upright = upright.crop((x, y, x + w, y + h))
    square = ImageOps.fit(upright, (shape[1], shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(shape)


def _box(text: str) -> Box:
    words = text.split(",")
    if len(words) != 4 or not all(word.strip().isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted x,y,width,height in pixels, such as 120,80,200,200")
    x, y, w, h = map(int, words)
    if not (w and h):
        raise argparse.ArgumentTypeError(f"{text!r}: an empty box")
    return x, y, w, h


def _is_model(path: str) -> bool:
    """Whether path is a run folder or a model file: a safetensors file begins with its header's length and a brace."""
    if Path(path).is_dir():
        return True
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        beginning = file.read(9)
    return beginning[8:] == b"{" and int.from_bytes(beginning[:8], "little") <= LONGEST_HEADER


def _pretrained(name: str | None, photographs: list[str]) -> tuple[nn.Module, dict[str, Any]]:
    """(model, metadata) of a model that comes with the package: the named one, or the first."""
    known = models.pretrained_names()
    if not (name or known):
        given = f"{photographs[0]} is no run folder and no model file" if photographs else "no run was given"
        raise ValueError(f"{given}, and no pretrained model comes with this minicnn")
    path = models.pretrained_path(name or known[0])
    model, metadata = runs.load_model(str(path))
    print(f"model: {path.stem}, pretrained", file=sys.stderr)
    return model.astype("float32"), metadata


def _eight_bits(image: Any) -> Any:
    """An image of 8 bits a channel; Pillow itself would clip 16 bits to white and warn of a palette's transparency."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers without a range (mode {image.mode}), wanted 8 or 16 bits")
    return image.convert("RGBA") if image.mode == "P" else image


def _colour(shape: tuple[int, int, int]) -> str:
    return "grey" if shape[2] == 1 else "colour"
