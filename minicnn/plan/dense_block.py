"""A dense block as one step: its layers grow one buffer, and nothing is concatenated."""

from typing import Any

from minicnn import nn
from minicnn.backend import Array
from minicnn.nn import Module
from minicnn.ops import dense_block
from minicnn.plan.step import STEPS, Step

PARTS = {
    "norm1": nn.BatchNorm2d,
    "relu1": nn.ReLU,
    "conv1": nn.Conv2d,
    "norm2": nn.BatchNorm2d,
    "relu2": nn.ReLU,
    "conv2": nn.Conv2d,
}


class FusedDenseBlock(Step):
    """A `nn.DenseBlock` by `ops.dense_block`; by its own layers where they are not what the op computes."""

    def __init__(self, path: str, block: Module):
        super().__init__([(path, block)])
        self.block = block
        self.inside: list[Any] = list(block.children())
        self.regular = all(map(_is_regular, self.inside))

    def norms(self) -> list[Any]:
        """The batch norms, two of each layer."""
        return [norm for layer in self.inside for norm in (layer.norm1, layer.norm2)]

    def weights(self) -> list[Any]:
        """The parameters in the order of the op's arguments."""
        pairs = [pair for f in self.inside for pair in ((f.norm1, f.conv1), (f.norm2, f.conv2))]
        return [p for norm, conv in pairs for p in (norm.weight, norm.bias, conv.weight)]

    def is_one_op(self) -> bool:
        """Whether every layer is as nn.DenseLayer made it, and all are in one mode with one eps."""
        return self.regular and len({(norm.training, float(norm.eps)) for norm in self.norms()}) == 1

    def forward(self, x: Array) -> tuple[Array, Any]:
        if not self.is_one_op():
            return self.block(x), None
        norms, statistics = self.norms(), None
        if not norms[0].training:
            statistics = [s for norm in norms for s in (norm.running_mean, norm.running_var)]
        weights = [p.data for p in self.weights()]
        y, cache = dense_block.forward(x, *weights, statistics=statistics, eps=norms[0].eps)
        if statistics is None:
            m = y.size // y.shape[-1]
            for k, (first, second) in enumerate(zip(norms[::2], norms[1::2], strict=True)):
                c = first.running_mean.shape[0]
                first.observe(cache.mean[:c], cache.var[:c], m)
                second.observe(cache.hidden_mean[k], cache.hidden_var[k], m)
        return y, cache

    def gradient(self, dy: Array, cache: Any, input_gradient: bool = True) -> Array | None:
        if cache is None:
            return self.block.backward(dy)
        dx, *gradients = dense_block.backward(dy, cache)
        for parameter, gradient in zip(self.weights(), gradients, strict=True):
            parameter.accumulate(gradient)
        return dx

    def computes(self) -> str:
        return "dense_block" if self.is_one_op() else super().computes()


def _is_regular(layer: Any) -> bool:
    """Whether a layer is made of what nn.DenseLayer makes it of."""
    parts = {name: type(part) for name, part in layer.named_children()}
    return type(layer) is nn.DenseLayer and parts == PARTS and not layer.conv1.bias and not layer.conv2.bias


STEPS[nn.DenseBlock] = FusedDenseBlock
