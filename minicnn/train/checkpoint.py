"""The state of a training in one file: nested dictionaries of arrays and plain values, as safetensors.

Arrays are stored under their path ("optimizer/state/3/exp_avg"); everything else is JSON in the file's metadata.
"""

import json
import os
from typing import Any

import numpy as np

from minicnn import backend, files

FORMAT = "minicnn training 1"


def write(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    plain = _split(state, "", arrays)
    files.write_arrays(path, arrays, {"minicnn": FORMAT, "state": json.dumps(plain)})


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state in a file.  ValueError where it is none, or is damaged."""
    arrays, metadata = files.read_arrays(path)
    if metadata.get("minicnn") != FORMAT:
        found = metadata.get("minicnn", "no minicnn metadata")
        raise ValueError(f"{path}: not a checkpoint of a training ({found}, wanted {FORMAT!r})")
    return _join(json.loads(metadata["state"]), arrays)


def _split(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if odd := [k for k in value if not isinstance(k, (str, int))]:
            raise TypeError(f"checkpoint: {path or '/'} has the key {odd[0]!r}, wanted text or an integer")
        return {"dict": [[k, _split(v, f"{path}/{k}", arrays)] for k, v in value.items()]}  # keys may be ints
    if isinstance(value, (list, tuple)):
        return [_split(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if backend.is_array(value):
        name = path if path not in arrays else f"{path} ({len(arrays)})"  # keys 1 and "1", or a slash in a key
        arrays[name] = backend.to_host(value)
        return {"array": name}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"checkpoint: {path} is a {type(value).__name__}, which cannot be written down")


def _join(plain: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(plain, list):
        return [_join(v, arrays) for v in plain]
    if not isinstance(plain, dict):
        return plain
    if "array" in plain:
        return arrays[plain["array"]]
    return {k: _join(v, arrays) for k, v in plain["dict"]}
