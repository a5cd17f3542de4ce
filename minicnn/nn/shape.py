"""Layers that move numbers and compute none."""

from minicnn.nn.module import Module
from minicnn.nn.plain import Plain
from minicnn.ops import flatten, zero_pad2d


class Identity(Module):
    """y = x."""

    def forward(self, x):
        return x, None

    def gradient(self, dy, cache):
        return dy


class Flatten(Plain):
    """`ops.flatten`: (N, ...) -> (N, the product of the others)."""

    op = flatten


class ZeroPad2d(Plain):
    """`ops.zero_pad2d`; padding is an int, (height, width) or (top, bottom, left, right)."""

    op = zero_pad2d

    def __init__(self, padding: int | tuple[int, ...]):
        self.options = {"padding": padding}
