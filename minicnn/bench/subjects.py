"""The models that are measured, and on what."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from minicnn import models, nn
from minicnn.models.saved import describe
from minicnn.ops.checks import pair

MODELS = (
    "three_conv",
    "prelu_cnn",
    "zero_pad_cnn",
    "leaky_bn_cnn",
    "simple_cnn",
    "prelu_dnn",
    "deep_dnn",
    "densenet201_fer",
    "vgg_fer",
    "resnet18_fer",
    "mini_xception",
)
OPTIONS: dict[str, dict[str, Any]] = {"densenet201_fer": {"channels": 3}}  # the report repeats grey
QUICK: dict[str, dict[str, Any]] = {"densenet201_fer": {"layers": (2, 2)}}  # beside a tenth of the width
CLASSES = 7


@dataclass(frozen=True)
class Subject:
    """A model by name, with options of its function, and a batch."""

    model: str
    batch: int
    options: tuple[tuple[str, Any], ...] = ()

    def build(self) -> nn.Module:
        """The model with the weights of seed 0."""
        return models.build(self.model, **dict(self.options), rng=0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of its images."""
        given = dict(self.options)
        defaults = inspect.signature(getattr(models, self.model)).parameters
        size, channels = (given.get(name, defaults[name].default) for name in ("input_size", "channels"))
        return (*pair(self.model, "input_size", size, least=1), channels)

    def specification(self, **more: Any) -> dict[str, Any]:
        """What a worker is told."""
        shape = {"batch": self.batch, "shape": self.shape, "classes": CLASSES}
        return {"model": describe(self.build())} | shape | more


def choose(names: Iterable[str], batches: Iterable[int], *, quick: bool = False) -> list[Subject]:
    """Every named model (none: all there are) at every batch; quick ones are narrow.  ValueError for unknown names."""
    known = models.names()
    wanted = list(names) or [name for name in MODELS if name in known]
    for name in wanted:
        if name not in known:
            raise ValueError(f"no model is named {name!r}; there is {', '.join(known)}")
    for batch in batches:
        if batch < 1:
            raise ValueError(f"a batch of {batch}, wanted at least 1")
    return [Subject(name, batch, _options(name, quick)) for name in wanted for batch in batches]


def _options(name: str, quick: bool) -> tuple[tuple[str, Any], ...]:
    options = OPTIONS.get(name, {}) | ({"width": 0.1} | QUICK.get(name, {}) if quick else {})
    return tuple(options.items())
