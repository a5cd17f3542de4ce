"""A model in one file: its architecture as JSON and its weights, in safetensors.  Never a pickle.

The architecture is the tree of modules with their constructors' arguments, so a file holds any composition of the
library's layers, changed by hand or not.  A Module of the user's own joins in by defining `config()`, which returns its
constructor's arguments by name, and by being imported before `load`.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minicnn import backend, files
from minicnn.nn import Module

FORMAT = "minicnn 1"


def save(model: Module, path: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Write architecture and weights to path, whole or not at all.

    TypeError names a Module without config(); ValueError says what `load` could not build again from the config()s.
    """
    write(model, {key: backend.to_host(a) for key, a in model.state_dict().items()}, path, metadata)


def write(
    model: Module, state: dict[str, np.ndarray], path: str | os.PathLike[str], metadata: dict[str, str] | None
) -> None:
    """`save` with the state given, whose dtypes are kept."""
    architecture = describe(model)
    _check(model, rebuild(architecture), state)
    described = {"minicnn": FORMAT, "architecture": json.dumps(architecture)}
    given = {k: v for k, v in (metadata or {}).items() if k != files.CHECKSUM}  # of the file they may come from
    files.write_arrays(path, state, given | described)


def load(path: str | os.PathLike[str]) -> Module:
    """The model in a file that `save` wrote, in eval mode.  ValueError where the file is not one, or is damaged."""
    state, metadata = files.read_arrays(path)
    if metadata.get("minicnn") != FORMAT:
        found = metadata.get("minicnn", "no minicnn metadata")
        raise ValueError(f"{path}: not a model saved by minicnn.save ({found}, wanted {FORMAT!r})")
    try:
        model = rebuild(json.loads(metadata["architecture"]))
        if not isinstance(model, Module):
            raise TypeError(f"it is a {type(model).__name__}, wanted a Module")
        dtypes = {a.dtype for a in state.values() if a.dtype.kind == "f"}
        if len(dtypes) == 1:
            model.astype(dtypes.pop())
        model.load_state_dict(state)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its model cannot be built: {error}") from error
    return model.eval()


def _check(model: Module, again: Module, state: Mapping[str, np.ndarray]) -> None:
    """ValueError unless `again`, rebuilt from what describes model, has the same parts and takes its state."""
    for what, parts, wanted in (
        ("modules", _classes(again), _classes(model)),
        ("parameters", dict(again.named_parameters()).keys(), dict(model.named_parameters()).keys()),
    ):
        if parts != wanted:
            differing = sorted({str(p) for p in set(parts) ^ set(wanted)})
            raise ValueError(f"save: the config()s of {type(model).__name__} make other {what}: {', '.join(differing)}")
    again.load_state_dict(dict(state))


def _classes(model: Module) -> list[str]:
    return [f"{path or 'model'}: {type(module).__qualname__}" for path, module in model.named_modules()]


def describe(value: Any, numbers: dict[Module, int] | None = None) -> Any:
    """A module, or an argument of one, as JSON.  TypeError where an argument is neither a module nor plain data.

    numbers counts the modules that are described already: one that comes again is named by its number.
    """
    numbers = {} if numbers is None else numbers
    if isinstance(value, Module):
        if value in numbers:
            return {"again": numbers[value]}
        config = {k: describe(v, numbers) for k, v in value.config().items()}
        numbers[value] = len(numbers)
        return {"class": value._registered_name(), "config": config}
    if isinstance(value, dict):
        return {"dict": {str(k): describe(v, numbers) for k, v in value.items()}}
    if isinstance(value, (list, tuple)):
        return [describe(v, numbers) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"save: an argument of type {type(value).__name__} cannot be written down")


def rebuild(described: Any, made: list[Module] | None = None) -> Any:
    """What `describe` described, with fresh weights.  ValueError names a class that is not known."""
    made = [] if made is None else made
    if isinstance(described, list):
        return tuple(rebuild(v, made) for v in described)
    if not isinstance(described, dict):
        return described
    if "dict" in described:
        return {k: rebuild(v, made) for k, v in described["dict"].items()}
    if "again" in described:
        return made[described["again"]]
    name = described["class"]
    if name not in Module._registry:
        raise ValueError(f"no Module named {name.removeprefix(':')} is known: import the file that defines it first")
    made.append(Module._registry[name].from_config({k: rebuild(v, made) for k, v in described["config"].items()}))
    return made[-1]
