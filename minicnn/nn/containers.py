"""Modules made of others."""

from collections.abc import Iterator, Mapping
from typing import Any

from minicnn.nn.activation import ReLU
from minicnn.nn.conv import Conv2d
from minicnn.nn.init import Seed, generator
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm2d
from minicnn.nn.shape import Identity
from minicnn.ops import add, concat


class Sequential(Module):
    """Layers one after the other; `Sequential(a, b)` names them "0", "1", `Sequential({"first": a})` as it says."""

    def __init__(self, *layers: Module | Mapping[str, Module]):
        named: Any = layers[0] if len(layers) == 1 and isinstance(layers[0], Mapping) else enumerate(layers)
        for name, layer in dict(named).items():
            self._add(str(name), layer)

    def forward(self, x):
        for layer in self:
            x = layer(x)
        return x

    def backward(self, dy):
        for layer in reversed(list(self)):
            dy = layer.backward(dy)
        return dy

    def config(self):
        return super().config() | {"layers": dict(self.named_children())}

    @classmethod
    def from_config(cls, config):
        return super().from_config(config | {"layers": [config["layers"]]} if "layers" in config else config)

    def append(self, layer: Module) -> "Sequential":
        """Add a layer at the end, named after its place; returns self.  ValueError where that name is taken."""
        self._add(str(len(self)), layer)
        return self

    def _add(self, name: str, layer: Module) -> None:
        if not isinstance(layer, Module):
            raise TypeError(f"Sequential: layer {name} is a {type(layer).__name__}, wanted a Module")
        if hasattr(self, name) or "." in name:
            raise ValueError(f"Sequential: a layer cannot be named {name!r}: it is taken, or holds a dot")
        setattr(self, name, layer)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __getitem__(self, index: int | slice) -> Module:
        layers = list(self)
        return Sequential(*layers[index]) if isinstance(index, slice) else layers[index]


class Concat(Module):
    """The branches' outputs for one input, joined along the channels: y = [b₁(x), b₂(x), ...].

    x reaches L through every branch, so dx = Σₖ (gradient of branch k for its part of dy).
    """

    def __init__(self, *branches: Module):
        self.branches = list(branches)

    def forward(self, x):
        return concat.forward(*(branch(x) for branch in self.branches), axis=-1)

    def gradient(self, dy, cache):
        parts = reversed(concat.backward(dy, cache))  # last call first: branches may share a module
        return add.forward(*(b.backward(part) for b, part in zip(reversed(self.branches), parts, strict=True)))[0]


class Residual(Module):
    """y = body(x) + shortcut(x), the shortcut being x itself where none is given (He et al. 2016, arXiv:1512.03385).

    x reaches L both ways, so dx is the sum of what comes back through both.
    """

    def __init__(self, body: Module, shortcut: Module | None = None):
        self.body, self.shortcut = body, Identity() if shortcut is None else shortcut

    def forward(self, x):
        return add.forward(self.body(x), self.shortcut(x))

    def gradient(self, dy, cache):
        through_body, past_it = add.backward(dy, cache)
        past_it = self.shortcut.backward(past_it)  # last call first: the two may share a module
        return add.forward(self.body.backward(through_body), past_it)[0]


class DenseLayer(Module):
    """y = [x, f(x)], f = BN, ReLU, 1x1 convolution to bottleneck·growth channels, BN, ReLU, 3x3 convolution to growth
    channels (Huang et al. 2017, arXiv:1608.06993, section 3: DenseNet-B)."""

    def __init__(self, in_channels: int, growth: int, bottleneck: int = 4, *, rng: Seed = None):
        rng, width = generator(rng), bottleneck * growth
        self.norm1, self.relu1 = BatchNorm2d(in_channels), ReLU()
        self.conv1 = Conv2d(in_channels, width, 1, bias=False, rng=rng)
        self.norm2, self.relu2 = BatchNorm2d(width), ReLU()
        self.conv2 = Conv2d(width, growth, 3, padding=1, bias=False, rng=rng)

    def forward(self, x):
        new = x
        for layer in self.children():
            new = layer(new)
        return concat.forward(x, new, axis=-1)

    def gradient(self, dy, cache):
        past, new = concat.backward(dy, cache)
        for layer in reversed(list(self.children())):
            new = layer.backward(new)
        return add.forward(past, new)[0]


class DenseBlock(Sequential):
    """num_layers DenseLayers, each on the concatenation of all before it: in_channels + num_layers·growth channels."""

    def __init__(self, in_channels: int, num_layers: int, growth: int, bottleneck: int = 4, *, rng: Seed = None):
        rng = generator(rng)
        super().__init__(
            {
                f"denselayer{k + 1}": DenseLayer(in_channels + k * growth, growth, bottleneck, rng=rng)
                for k in range(num_layers)
            }
        )
        self.out_channels = in_channels + num_layers * growth

    config = Module.config  # its own arguments, not its layers
