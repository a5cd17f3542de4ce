"""minicnn recipes: which trainings come ready, and what one of them says."""

import argparse

from minicnn import recipes

HELP = "list the recipes, or print one to copy and change"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn recipes`."""
    parser.add_argument("name", nargs="?", help="a recipe to print: minicnn recipes NAME > mine.toml")


def run(args: argparse.Namespace) -> int:
    """Print a line per recipe, or one recipe's file."""
    if args.name:
        print(recipes.text(args.name), end="")
        return 0
    width = max(map(len, recipes.names()))
    for name in recipes.names():
        print(f"{name:<{width}}   {recipes.read(name).about}")
    return 0
