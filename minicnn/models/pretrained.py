"""Trained models that come with the package: files of `weights/`, next to this one, by name."""

import os
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from minicnn import backend
from minicnn.models.saved import load, write
from minicnn.nn import Module

FOLDER = Path(__file__).parent / "weights"
SUFFIX = ".safetensors"


def pretrained_names(folder: str | os.PathLike[str] = FOLDER) -> list[str]:
    """The trained models in folder (those of the package), in alphabetical order; none where there is no folder."""
    return sorted(path.stem for path in Path(folder).glob(f"*{SUFFIX}"))


def pretrained(name: str, folder: str | os.PathLike[str] = FOLDER) -> Module:
    """The named model, trained, in eval mode and float32 (whatever the file stores).

    ValueError names the nearest where there is none of that name, and where the file is damaged.
    """
    return load(pretrained_path(name, folder)).astype("float32")


def pretrained_path(name: str, folder: str | os.PathLike[str] = FOLDER) -> Path:
    """The file of a trained model, whose metadata say what images it takes; ValueError as for `pretrained`."""
    known = pretrained_names(folder)
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(f"no pretrained model is named {name!r}{hint} There are: {', '.join(known) or 'none'}")
    return Path(folder) / f"{name}{SUFFIX}"


def export_weights(model: Module, path: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Write model for `pretrained`: as `save` does, but the weights of products in float16, half as many bytes.

    Those are the parameters of two axes or more, nearly all there is.  The others, and running statistics, keep their
    dtype: their relative error of 2⁻¹¹ would not average out, and a variance may be below what float16 can tell from 0.
    metadata is text; class_names and input_shape (JSON) are what `minicnn predict` reads, and a run's best.safetensors
    has them (`files.read_metadata`).  ValueError names a weight that is NaN, infinite or above 65,504.
    """
    parameters = dict(model.named_parameters())

    def stored(key: str, a: np.ndarray) -> np.ndarray:
        if key not in parameters or a.ndim < 2:
            return a
        if not (np.abs(a) <= np.finfo("float16").max).all():
            raise ValueError(f"export_weights: {key} holds numbers that float16 does not")
        return a.astype("float16")

    state = {key: stored(key, backend.to_host(a)) for key, a in model.state_dict().items()}
    write(model, state, path, metadata)
