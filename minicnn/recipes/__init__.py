"""Recipes: everything that makes a training what it is, in one short TOML file that can be copied and changed.

    recipe = minicnn.recipes.read("vgg_fer")           # or a path: "mine.toml"
    trainer = recipe.fit(train, valid, seed=0)         # trainer.model is that of the best epoch

`minicnn recipes` lists those that come with minicnn, `minicnn recipes NAME` prints one, and `minicnn train --recipe
NAME` runs it.  What may stand in a recipe is said in `minicnn.recipes.recipe`.
"""

import os
from difflib import get_close_matches
from pathlib import Path

from minicnn.recipes.parse import parse
from minicnn.recipes.recipe import Recipe
from minicnn.recipes.results import markdown, summary

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The recipes that come with minicnn."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def text(recipe: str | os.PathLike[str]) -> str:
    """The file of a recipe by name, or at a path; ValueError names the nearest name where there is none."""
    named = str(recipe)
    if named in names():
        return (_FOLDER / f"{named}.toml").read_text(encoding="utf-8")
    path = Path(recipe)
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not a recipe: it is no text ({error})") from error
    near = get_close_matches(named, names(), 1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ValueError(f"no recipe is named {named!r}, and no file{hint} There are: {', '.join(names())}")


def read(recipe: str | os.PathLike[str]) -> Recipe:
    """The recipe of this name, or in the file at this path.

    ValueError for a file that is no TOML, and for every key and value that does not fit: it says in which section, what
    came, and what was wanted or which key is nearest.
    """
    named = str(recipe)
    return parse(text(recipe), named if named in names() else Path(recipe).stem)


__all__ = ["Recipe", "markdown", "names", "parse", "read", "summary", "text"]
