"""Layers that may change places, and do where that saves work.

A 1x1 convolution acts on each pixel alone, and average pooling on each channel alone.  Both are linear, and where every
window lies inside the image its weights add up to 1, which keeps a bias b as it is: with windows of n pixels

    1/n Σ_ij (Σ_c x[i,j,c] w[c,o] + b[o]) = Σ_c (1/n Σ_ij x[i,j,c]) w[c,o] + b[o]        (1)

So the pooling may come first, and the convolution has fewer pixels to see.
"""

from collections.abc import Sequence
from typing import Any

from minicnn import nn
from minicnn.ops import checks
from minicnn.plan.step import Named


def pooled_first(layers: Sequence[Named]) -> list[Named]:
    """The layers with each average pooling before the 1x1 convolution that it followed, by (1)."""
    ordered = list(layers)
    for k in range(len(ordered) - 1):
        if _commute(ordered[k][1], ordered[k + 1][1]):
            ordered[k : k + 2] = ordered[k + 1], ordered[k]
    return ordered


def _commute(conv: Any, pool: Any) -> bool:
    if type(conv) is not nn.Conv2d or type(pool) is not nn.AvgPool2d:
        return False
    inside = pool.options["padding"] in (0, (0, 0), [0, 0]) and not pool.options["ceil_mode"]
    plain = checks.pair("conv2d", "padding", conv.options["padding"], least=0) == (0, 0)
    stride = checks.pair("conv2d", "stride", conv.options["stride"], least=1)
    return inside and plain and conv.kernel_size == (1, 1) and stride == (1, 1)
