"""The affine layer."""

from minicnn.nn.init import Seed, generator, torch_default
from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter
from minicnn.ops import linear


class Linear(Module):
    """`ops.linear`: weight (in_features, out_features), bias (out_features,) or none; PyTorch's default weights."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, rng: Seed = None):
        rng = generator(rng)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(torch_default((in_features, out_features), in_features, rng))
        self.bias = Parameter(torch_default((out_features,), in_features, rng)) if bias else None

    def forward(self, x):
        return linear.forward(x, self.weight.data, self.bias and self.bias.data)

    def gradient(self, dy, cache):
        dx, dw, db = linear.backward(dy, cache)
        self.weight.accumulate(dw)
        if self.bias:
            self.bias.accumulate(db)
        return dx

    def multiply_adds(self, x_shape, y_shape):
        rows = 1
        for n in x_shape[:-1]:
            rows *= n
        return rows * self.in_features * self.out_features
