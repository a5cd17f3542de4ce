"""The activations."""

import numpy as np

from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter
from minicnn.nn.plain import Plain
from minicnn.ops import elu, gelu, leaky_relu, prelu, relu, sigmoid, silu, softmax, softplus, tanh


class ReLU(Plain):
    """`ops.relu`."""

    op = relu


class LeakyReLU(Plain):
    """`ops.leaky_relu`."""

    op = leaky_relu

    def __init__(self, slope: float = 0.01):
        self.options = {"slope": slope}


class ELU(Plain):
    """`ops.elu`."""

    op = elu

    def __init__(self, alpha: float = 1.0):
        self.options = {"alpha": alpha}


class GELU(Plain):
    """`ops.gelu`."""

    op = gelu

    def __init__(self, approximate: bool = False):
        self.options = {"approximate": approximate}


class SiLU(Plain):
    """`ops.silu`."""

    op = silu


class Sigmoid(Plain):
    """`ops.sigmoid`."""

    op = sigmoid


class Tanh(Plain):
    """`ops.tanh`."""

    op = tanh


class Softplus(Plain):
    """`ops.softplus`."""

    op = softplus


class Softmax(Plain):
    """`ops.softmax`, over the last axis.  Models return logits and need none: it belongs to the loss."""

    op = softmax


class PReLU(Module):
    """`ops.prelu` with a learned slope: one (1), one a channel (C,), or one an element (H, W, C); all start at init."""

    def __init__(self, num_parameters: int | tuple[int, ...] = 1, init: float = 0.25):
        self.weight = Parameter(np.full(num_parameters, init, "float32"))

    def forward(self, x):
        return prelu.forward(x, self.weight.data)

    def gradient(self, dy, cache):
        dx, dalpha = prelu.backward(dy, cache)
        self.weight.accumulate(dalpha)
        return dx
