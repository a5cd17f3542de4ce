"""The pooling layers."""

from minicnn.nn.plain import Plain
from minicnn.ops import avg_pool2d, checks, global_avg_pool2d, max_pool2d


class MaxPool2d(Plain):
    """`ops.max_pool2d`; stride defaults to kernel_size."""

    op = max_pool2d

    def __init__(
        self,
        kernel_size: checks.Size,
        stride: checks.Size | None = None,
        padding: checks.Size = 0,
        ceil_mode: bool = False,
    ):
        self.options = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}


class AvgPool2d(Plain):
    """`ops.avg_pool2d`; stride defaults to kernel_size."""

    op = avg_pool2d

    def __init__(
        self,
        kernel_size: checks.Size,
        stride: checks.Size | None = None,
        padding: checks.Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        self.options = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "ceil_mode": ceil_mode,
            "count_include_pad": count_include_pad,
        }


class GlobalAvgPool2d(Plain):
    """`ops.global_avg_pool2d`: (N, H, W, C) -> (N, C)."""

    op = global_avg_pool2d
