"""minicnn models: which networks there are, and what one is made of."""

import argparse

from minicnn import models

HELP = "list the models, or show one layer by layer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn models`."""
    parser.add_argument("name", nargs="?", help="a model to show layer by layer")
    parser.add_argument("--input", type=int, nargs=3, default=(48, 48, 1), metavar=("H", "W", "C"))


def run(args: argparse.Namespace) -> int:
    """Print a line per model and the pretrained ones, or one model's table."""
    if args.name:
        H, W, C = args.input
        print(models.build(args.name, input_size=(H, W), channels=C, rng=0).summary((H, W, C)))
        return 0
    for name in models.names():
        parameters = sum(p.data.size for p in models.build(name, rng=0).parameters())
        print(f"{name:<16} {parameters:>12,} parameters   {models.about(name)}")
    if trained := models.pretrained_names():
        print(f"\npretrained: {', '.join(trained)}")
    return 0
