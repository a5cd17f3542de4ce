"""A minicnn model in PyTorch, written as one who knows PyTorch would write it for speed.

The description is what `minicnn.save` writes down: {"class": ..., "config": ...} down the tree.  The twin has the same
parameters in the same order and computes the same function, so that nobody compares two different networks.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WRITTEN_OVER = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.MaxPool2d)  # nobody needs their outputs again


class PReLU(nn.Module):
    """A slope for every element, through PyTorch's own kernel on a flattened view, or one for all or each channel."""

    def __init__(self, num_parameters: int | tuple[int, ...] = 1, init: float = 0.25):
        super().__init__()
        self.weight = nn.Parameter(torch.full(_shape(num_parameters), init))

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 1:
            return functional.prelu(x, self.weight)
        if x.is_contiguous():
            return functional.prelu(x.flatten(1), self.weight.permute(2, 0, 1).flatten()).view(x.shape)
        last = x.permute(0, 2, 3, 1)
        return functional.prelu(last.flatten(1), self.weight.flatten()).view(last.shape).permute(0, 3, 1, 2)


class Flatten(nn.Module):
    """In the order of height, width, channel: in channels_last memory it costs nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x.flatten(1)


class GlobalAvgPool2d(nn.Module):
    """The mean of every channel."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


class Residual(nn.Module):
    """body(x) + shortcut(x), added in place where nobody needs the body's output again."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None):
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()
        last = body[-1] if isinstance(body, nn.Sequential) and len(body) else body
        self.in_place = isinstance(last, WRITTEN_OVER)

    def forward(self, x: Tensor) -> Tensor:
        y, past = self.body(x), self.shortcut(x)
        return y.add_(past) if self.in_place else y + past


class DenseLayer(nn.Module):
    """The new channels of a dense layer, from the list of all maps before it."""

    def __init__(self, in_channels: int, growth: int, bottleneck: int):
        super().__init__()
        width = bottleneck * growth
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, growth, 3, padding=1, bias=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = functional.relu(self.norm1(torch.cat(maps, 1)), inplace=True)
        return self.conv2(functional.relu(self.norm2(self.conv1(x)), inplace=True))


class DenseBlock(nn.Module):
    """Layers that each see all maps before them; one concatenation a layer, as torchvision's."""

    def __init__(self, in_channels: int, num_layers: int, growth: int, bottleneck: int = 4):
        super().__init__()
        layers = (DenseLayer(in_channels + k * growth, growth, bottleneck) for k in range(num_layers))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


def _zero_pad2d(padding: int | tuple[int, ...]) -> nn.Module:
    sizes = (padding,) if isinstance(padding, int) else padding
    top, bottom, left, right = {1: sizes * 4, 2: sizes[:1] * 2 + sizes[1:] * 2, 4: sizes}[len(sizes)]
    return nn.ZeroPad2d((left, right, top, bottom))


LAYERS: dict[str, Any] = {
    "AvgPool2d": nn.AvgPool2d,
    "BatchNorm1d": nn.BatchNorm1d,
    "BatchNorm2d": nn.BatchNorm2d,
    "Conv2d": nn.Conv2d,
    "DenseBlock": DenseBlock,
    "Dropout": nn.Dropout,
    "Dropout2d": nn.Dropout2d,
    "ELU": nn.ELU,
    "Flatten": Flatten,
    "GlobalAvgPool2d": GlobalAvgPool2d,
    "Identity": nn.Identity,
    "LeakyReLU": lambda slope=0.01: nn.LeakyReLU(slope),
    "Linear": nn.Linear,
    "MaxPool2d": nn.MaxPool2d,
    "PReLU": PReLU,
    "ReLU": nn.ReLU,
    "Residual": Residual,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "ZeroPad2d": _zero_pad2d,
}


def build(described: dict[str, Any], *, merge_padding: bool = False) -> nn.Module:
    """The PyTorch module of a description; ValueError names a layer without a twin.

    merge_padding writes a zero-pad layer into the convolution or average pool behind it, which is the same function.
    """
    name, config = described["class"], described["config"]
    if name == "Sequential":
        layers = list(config["layers"]["dict"].values())
        return _chain([build(d, merge_padding=merge_padding) for d in (_merged(layers) if merge_padding else layers)])
    if name not in LAYERS:
        raise ValueError(f"{name} has no twin in PyTorch yet; there is {', '.join(LAYERS)}")
    return LAYERS[name](**{k: _argument(v, merge_padding) for k, v in config.items()})


def _argument(value: Any, merge_padding: bool) -> Any:
    """A layer's argument: a module of its own, a tuple, or the plain value."""
    if isinstance(value, dict):
        return build(value, merge_padding=merge_padding)
    return tuple(value) if isinstance(value, list) else value


def _merged(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The descriptions with every zero-pad layer by a number written into a layer behind it that has no padding."""
    merged: list[dict[str, Any]] = []
    for layer in layers:
        before = merged[-1] if merged else layer
        into = layer["class"] in ("Conv2d", "AvgPool2d") and "padding" not in layer["config"]
        if into and before["class"] == "ZeroPad2d" and isinstance(before["config"]["padding"], int):
            merged.pop()
            layer = {"class": layer["class"], "config": layer["config"] | before["config"]}
        merged.append(layer)
    return merged


def _chain(layers: list[nn.Module]) -> nn.Sequential:
    """The layers in order; an activation writes over the output of a layer that needs it no more."""
    for before, layer in itertools.pairwise(layers):
        if isinstance(layer, nn.ReLU | nn.LeakyReLU) and isinstance(before, (*WRITTEN_OVER, Residual)):
            layer.inplace = True
    return nn.Sequential(*layers)


def _shape(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)
