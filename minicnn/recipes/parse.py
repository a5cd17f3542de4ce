"""From the text of a recipe to a Recipe: every key is known and every value fits, or ValueError says what is wrong."""

import inspect
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np

from minicnn import models, nn, schedules, train
from minicnn.data import augment
from minicnn.recipes.recipe import AUGMENTATIONS, OPTIMIZERS, PLATEAU, SCHEDULES, Options, Recipe

MONITORED = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
Check = tuple[str, Callable[[Any], bool]]  # what is wanted, and whether a value is that


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _seeds(value: Any) -> bool:
    return isinstance(value, list) and all(_whole(v, 0) for v in value) and 0 < len(value) == len(set(value))


SHARE: Check = ("a number in [0, 1)", lambda v: _number(v) and 0 <= v < 1)
FLAG: Check = ("true or false", lambda v: isinstance(v, bool))
TEXT: Check = ("text in quotes", lambda v: isinstance(v, str))
NUMBER: Check = ("a finite number", _number)
VALUES: dict[str, Check] = {
    "about": TEXT,
    "epochs": ("a whole number, 1 or more", lambda v: _whole(v, 1)),
    "batch_size": ("a whole number, 1 or more", lambda v: _whole(v, 1)),
    "label_smoothing": SHARE,
    "ema": SHARE,
    "tta": (f"one of {', '.join(train.tta.WAYS)}", lambda v: isinstance(v, str) and v in train.tta.WAYS),
    "drop_duplicates": FLAG,
    "seeds": ("a list of different whole numbers, 0 or more, at least one", _seeds),
}
EARLY_STOPPING: dict[str, Check] = {
    "monitor": (f"one of {', '.join(MONITORED)}", lambda v: isinstance(v, str) and v in MONITORED),
    "patience": ("a whole number, 1 or more", lambda v: _whole(v, 1)),
    "restore_best_weights": FLAG,
    "min_delta": NUMBER,
}
NOT_NEGATIVE: Check = ("a finite number, 0 or more", lambda v: _number(v) and v >= 0)
GIVEN = {  # what minicnn itself gives to the functions
    "model": {"classes", "input_size", "channels", "rng"},
    "optimizer": {"self", "params"},
    "schedule": {"self", "lr", "max_lr", "total_steps", "schedule", "warmup_steps", "start_factor"},
    "augment": {"self"},
}


def parse(text: str, name: str) -> Recipe:
    """The Recipe in a TOML text; name is what it is called there and in messages."""
    where = f"recipe {name}"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{where}: not TOML: {error}") from error
    sections: dict[str, Callable[[str, Any], Any]] = {
        "model": _model,
        "optimizer": _optimizer,
        "schedule": _schedule,
        "augment": _augment,
        "early_stopping": _early_stopping,
    }
    _known(where, table, [f.name for f in fields(Recipe) if f.name != "name"], _section_of)
    _fit(where, table, VALUES)
    checked = {k: sections[k](f"{where}, [{k}]", v) if k in sections else v for k, v in table.items()}
    if "seeds" in checked:
        checked["seeds"] = tuple(checked["seeds"])
    return Recipe(name=name, **checked)


def _model(where: str, given: Any) -> Options:
    function = _choice(where, given, {name: getattr(models, name) for name in models.names()})
    _options(where, given, function, "model")
    return given


def _optimizer(where: str, given: Any) -> Options:
    kind = _choice(where, given, OPTIMIZERS)
    _options(where, given, kind, "optimizer")
    _try(where, partial(kind, [nn.Parameter(np.zeros(1, "float32"))], **_rest(given)))
    return given


def _schedule(where: str, given: Any) -> Options:
    function, name = _choice(where, given, SCHEDULES), given["name"]
    warm = name in ("none", "cosine")
    if warm and "warmup_epochs" in given:
        _fit(where, given, {"warmup_epochs": NOT_NEGATIVE})
    rest = {k: v for k, v in given.items() if not (warm and k == "warmup_epochs")}
    _options(where, rest, function, "schedule", ["warmup_epochs"] if warm else [])
    if name == "plateau":
        _try(where, partial(train.ReduceLROnPlateau, **(PLATEAU | _rest(rest))))
    elif function is not schedules.warmup:
        _try(where, partial(function, 1.0, 1000, **_rest(rest)))
    return given


def _augment(where: str, given: Any) -> str | Options:
    if isinstance(given, str):
        _known(where, [given], AUGMENTATIONS)
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: came {given!r}, wanted a table, or one of {', '.join(AUGMENTATIONS)}")
    _known(where, given, _transforms())
    for name, chosen in given.items():
        if not isinstance(chosen, Mapping):
            raise ValueError(f"{where}: {name} is {chosen!r}, wanted its options in braces, or {{}}")
        kind = getattr(augment, name)
        _options(f"{where}, {name}", chosen, kind, "augment")
        _try(f"{where}, {name}", partial(kind, **chosen))
    return given


def _early_stopping(where: str, given: Any) -> Options:
    _table(where, given)
    _known(where, given, EARLY_STOPPING)
    _fit(where, given, EARLY_STOPPING)
    if "patience" not in given:
        raise ValueError(f"{where}: patience is missing, wanted {EARLY_STOPPING['patience'][0]}")
    return given


def _transforms() -> list[str]:
    """The classes of data.augment that a recipe may name: those whose options are plain values."""
    found = (name for name, kind in vars(augment).items() if inspect.isclass(kind) and not inspect.isabstract(kind))
    return [name for name in found if issubclass(getattr(augment, name), augment.Transform) and name != "Compose"]


def _table(where: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: came {given!r}, wanted a table")


def _choice(where: str, given: Any, choices: Mapping[str, Any]) -> Any:
    """What the section's name stands for."""
    _table(where, given)
    if not isinstance(given.get("name"), str):
        came = f"is {given['name']!r}" if "name" in given else "is missing"
        raise ValueError(f"{where}: name {came}, wanted one of {', '.join(choices)}")
    _known(where, [given["name"]], choices)
    return choices[given["name"]]


def _options(where: str, given: Options, function: Callable[..., Any], kind: str, others: Iterable[str] = ()) -> None:
    """Every option is one of the function's, and of the type of its default."""
    parameters = inspect.signature(function).parameters
    allowed = [name for name in parameters if name not in GIVEN[kind]]
    _known(where, _rest(given), [*allowed, *others], _section_of)
    for key, value in _rest(given).items():
        default = parameters[key].default
        if isinstance(default, bool):
            _fit(where, {key: value}, {key: FLAG})
        elif isinstance(default, (int, float)) and not isinstance(value, list):
            _fit(where, {key: value}, {key: NUMBER})
        elif isinstance(default, str):
            _fit(where, {key: value}, {key: TEXT})


def _known(
    where: str, given: Iterable[str], allowed: Iterable[str], elsewhere: Callable[[str], str] = lambda key: ""
) -> None:
    """ValueError for a key that is not allowed, with where it belongs or the nearest one that is allowed."""
    right = {name.lower(): name for name in allowed}
    for key in given:
        if key in right.values():
            continue
        hint, near = elsewhere(key), get_close_matches(key.lower(), right, 1)
        if not hint and near:
            hint = f"; did you mean {right[near[0]]!r}?"
        raise ValueError(f"{where}: {key!r} is not known{hint or '.'} There {_are(list(right.values()))}")


def _are(allowed: list[str]) -> str:
    return f"are: {', '.join(allowed)}" if len(allowed) > 1 else f"is: {', '.join(allowed) or 'nothing to set'}"


def _section_of(key: str) -> str:
    """Where a key that stands in the wrong place belongs."""
    if key in VALUES:
        return "; it belongs at the top, before the first section."
    if any(key in inspect.signature(kind).parameters for kind in OPTIMIZERS.values()):
        return "; it belongs in [optimizer]."
    if key in EARLY_STOPPING:
        return "; it belongs in [early_stopping]."
    return "; it belongs in [augment]." if key in _transforms() else ""


def _fit(where: str, given: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    for key in given.keys() & checks.keys():
        wanted, fits = checks[key]
        if not fits(given[key]):
            raise ValueError(f"{where}: {key} is {given[key]!r}, wanted {wanted}")


def _try(where: str, make: Callable[[], Any]) -> None:
    """Make the thing, so that its own checks of the values run now."""
    try:
        make()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _rest(given: Options) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != "name"}
