"""minicnn predict: what does a trained model say of photographs, or of a data set?"""

import argparse
import csv
import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files, nn, optim
from minicnn.cli import runs
from minicnn.train import Trainer

HELP = "say what a trained model sees in images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn predict`."""
    parser.add_argument("run_folder", metavar="RUN", help="a run folder, or a model file")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="photographs: the largest centred square is taken")
    parser.add_argument("--data", metavar="PATH", help="a data set in place of images")
    parser.add_argument("--split", help="which of its splits")
    parser.add_argument("--csv", metavar="OUT", help="write id,label (Kaggle's submission format)")


def run(args: argparse.Namespace) -> int:
    """Print a line per image, or write a CSV file."""
    if bool(args.images) == bool(args.data):
        raise ValueError("give images or --data, one of the two")
    model, metadata = runs.load_model(args.run_folder)
    shape = runs.input_shape(metadata)
    if args.data:
        dataset = runs.read_data(args.data, split=args.split)
        runs.require_shape(dataset, metadata)
        images, ids = dataset.images, [str(i) for i in range(len(dataset))]
    else:
        images, ids = np.stack([read_image(path, shape) for path in args.images]), args.images
        print(f"each image: largest centred square, {shape[0]}x{shape[1]}, {_colour(shape)}", file=sys.stderr)
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


def read_image(path: str, shape: tuple[int, int, int]) -> np.ndarray:
    """The largest centred square of a photograph, upright, as uint8 (H, W, C).  ValueError where it is no image."""
    from PIL import Image, ImageOps

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                upright = _eight_bits(ImageOps.exif_transpose(file)).convert("L" if shape[2] == 1 else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path}: too large an image ({error})") from error
    except Exception as error:  # a damaged image raises nearly anything
        raise ValueError(f"{path}: not an image that can be read ({error})") from error
    square = ImageOps.fit(upright, (shape[1], shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(shape)


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
