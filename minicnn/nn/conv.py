"""The convolutional layers."""

import math
from typing import Any

from minicnn.nn.init import Seed, generator, torch_default
from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter
from minicnn.ops import checks, conv2d, conv_transpose2d


class _Convolution(Module):
    """What both directions share: a weight, an optional bias, and how gradients reach them."""

    op = conv2d
    options: dict[str, Any]

    def _make(self, shape: tuple[int, ...], out_channels: int, fan_in: int, bias: bool, rng: Seed) -> None:
        rng = generator(rng)
        self.weight = Parameter(torch_default(shape, fan_in, rng))
        self.bias = Parameter(torch_default((out_channels,), fan_in, rng)) if bias else None

    def forward(self, x):
        return self.op.forward(x, self.weight.data, self.bias and self.bias.data, **self.options)

    def gradient(self, dy, cache):
        dx, dw, db = self.op.backward(dy, cache)
        self.weight.accumulate(dw)
        if self.bias:
            self.bias.accumulate(db)
        return dx


class Conv2d(_Convolution):
    """`ops.conv2d`: weight (kh, kw, in_channels/groups, out_channels), bias (out_channels,) or none; PyTorch's default
    weights.  ValueError where groups does not divide the channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: checks.Size,
        stride: checks.Size = 1,
        padding: checks.Size = 0,
        dilation: checks.Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: Seed = None,
    ):
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: groups={groups} must divide {in_channels} and {out_channels} channels")
        kh, kw = checks.pair("Conv2d", "kernel_size", kernel_size, least=1)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, (kh, kw)
        c = in_channels // groups
        self._make((kh, kw, c, out_channels), out_channels, kh * kw * c, bias, rng)

    def multiply_adds(self, x_shape, y_shape):
        return math.prod(y_shape) * math.prod(self.weight.shape[:3])


class ConvTranspose2d(_Convolution):
    """`ops.conv_transpose2d`: weight (kh, kw, out_channels, in_channels), bias (out_channels,) or none."""

    op = conv_transpose2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: checks.Size,
        stride: checks.Size = 1,
        padding: checks.Size = 0,
        output_padding: checks.Size = 0,
        bias: bool = True,
        *,
        rng: Seed = None,
    ):
        kh, kw = checks.pair("ConvTranspose2d", "kernel_size", kernel_size, least=1)
        self.options = {"stride": stride, "padding": padding, "output_padding": output_padding}
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, (kh, kw)
        self._make((kh, kw, out_channels, in_channels), out_channels, kh * kw * out_channels, bias, rng)

    def multiply_adds(self, x_shape, y_shape):
        return math.prod(x_shape) * math.prod(self.weight.shape[:3])
