"""Networks by name, and models in files."""

import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from minicnn.models.deep_dnn import deep_dnn
from minicnn.models.densenet201_fer import densenet201_fer
from minicnn.models.ensemble import Ensemble
from minicnn.models.leaky_bn_cnn import leaky_bn_cnn
from minicnn.models.mini_xception import mini_xception
from minicnn.models.mixture import mixture_weights
from minicnn.models.prelu_cnn import prelu_cnn
from minicnn.models.prelu_dnn import prelu_dnn
from minicnn.models.pretrained import export_weights, pretrained, pretrained_names, pretrained_path
from minicnn.models.resnet18_fer import resnet18_fer
from minicnn.models.saved import load, save
from minicnn.models.simple_cnn import simple_cnn
from minicnn.models.three_conv import three_conv
from minicnn.models.vgg_fer import vgg_fer
from minicnn.models.zero_pad_cnn import zero_pad_cnn
from minicnn.nn import Module

_MODELS: dict[str, Callable[..., Module]] = {
    model.__name__: model
    for model in (
        three_conv,
        densenet201_fer,
        simple_cnn,
        prelu_cnn,
        prelu_dnn,
        zero_pad_cnn,
        deep_dnn,
        leaky_bn_cnn,
        vgg_fer,
        resnet18_fer,
        mini_xception,
    )
}


def names() -> list[str]:
    """The models that `build` knows."""
    return list(_MODELS)


def about(name: str) -> str:
    """The model's first line of documentation."""
    return (sys.modules[_MODELS[name].__module__].__doc__ or "").splitlines()[0]


def build(name: str, **options: Any) -> Module:
    """The named model, with the options of its function; ValueError names the nearest where there is none."""
    if name not in _MODELS:
        near = get_close_matches(name, _MODELS, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(f"no model is named {name!r}{hint} There are: {', '.join(_MODELS)}")
    return _MODELS[name](**options)


__all__ = [
    "Ensemble",
    "about",
    "build",
    "deep_dnn",
    "densenet201_fer",
    "export_weights",
    "leaky_bn_cnn",
    "load",
    "mini_xception",
    "mixture_weights",
    "names",
    "prelu_cnn",
    "prelu_dnn",
    "pretrained",
    "pretrained_names",
    "pretrained_path",
    "resnet18_fer",
    "save",
    "simple_cnn",
    "three_conv",
    "vgg_fer",
    "zero_pad_cnn",
]
