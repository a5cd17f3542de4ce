"""From the options of `minicnn train` to a Recipe, and from a Recipe to config.json."""

import argparse
import inspect
from dataclasses import replace
from typing import Any

from minicnn import __version__, data, nn, recipes
from minicnn.cli import runs
from minicnn.recipes import Recipe
from minicnn.recipes.recipe import OPTIMIZERS, options

LEAST = {"epochs": 1, "batch_size": 1, "seed": 0, "checkpoint_every": 1}


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that --recipe names, or the plain one, with what the other options say in its place."""
    _check(args)
    recipe = recipes.read(args.recipe) if args.recipe else Recipe()
    given = {name: getattr(args, name) for name in ("epochs", "batch_size", "augment", "drop_duplicates")}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name in ("model", "optimizer", "schedule"):
        chosen = getattr(args, name)
        if chosen not in (None, getattr(recipe, name)["name"]):  # the same name keeps its options
            changes[name] = {"name": chosen}
    if args.lr is not None:
        changes["optimizer"] = {**changes.get("optimizer", recipe.optimizer), "lr": args.lr}
    if args.seeds is not None or args.seed is not None:
        changes["seeds"] = tuple(args.seeds or (args.seed,))
    return replace(recipe, **changes)


def _check(args: argparse.Namespace) -> None:
    for name, least in LEAST.items():
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}, wanted at least {least}")
    if args.lr is not None and not args.lr > 0:
        raise ValueError(f"--lr is {args.lr}, wanted a number above 0")
    seeds = args.seeds or []
    if args.seed is not None and seeds:
        raise ValueError("--seed and --seeds were both given, wanted one of them")
    if min(seeds, default=0) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds is {' '.join(map(str, seeds))}, wanted different numbers of at least 0")


def config(
    args: argparse.Namespace,
    recipe: Recipe,
    seed: int,
    dataset: data.Dataset,
    sizes: tuple[int, int],
    model: nn.Module,
) -> dict[str, Any]:
    """What the run is: no time, host or path, so that equal runs are equal bytes.  sizes: of training, validation."""
    optimizer = recipe.optimizer["name"]
    default = inspect.signature(OPTIMIZERS[optimizer]).parameters["lr"].default
    said = {
        "minicnn": __version__,
        "model": recipe.model["name"],
        "data": {
            "name": args.data if args.data == runs.SYNTHETIC else "fer2013",
            "digest": runs.digest(dataset),
            "training": sizes[0],
            "validation": sizes[1],
        },
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "lr": recipe.optimizer.get("lr", default),
        "optimizer": optimizer,
        "augment": recipe.augment,
        "schedule": recipe.schedule["name"],
        "seed": seed,
        "device": args.device,
        "drop_duplicates": recipe.drop_duplicates,
        "parameters": sum(p.data.size for p in model.parameters()),
        "input_shape": list(dataset.images.shape[1:]),
        "class_names": list(dataset.class_names),
    }
    return said | ({"recipe": recipe.name} if recipe.name else {}) | _further(recipe)


def _further(recipe: Recipe) -> dict[str, Any]:
    """What only a recipe can set, as far as it does."""
    rest = options(recipe.optimizer)
    rest.pop("lr", None)
    set_ = {
        "model_options": options(recipe.model),
        "optimizer_options": rest,
        "schedule_options": options(recipe.schedule),
        "early_stopping": dict(recipe.early_stopping),
        "label_smoothing": recipe.label_smoothing,
        "ema": recipe.ema,
        "tta": "" if recipe.tta == "none" else recipe.tta,
    }
    return {name: value for name, value in set_.items() if value}
