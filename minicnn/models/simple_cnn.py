"""The course's suggestion for the visualisation questions: three convolutions and one linear layer."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def simple_cnn(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    Three times conv 3x3 (64, 128, 512) with padding 1, ReLU and max pooling by 2 (kernel, padding and pooling are
    inferred); then one Linear.  width multiplies every hidden size.
    """
    rng = generator(rng)
    H, W = pair("simple_cnn", "input_size", input_size, least=8)
    layers: list[nn.Module] = []
    c = channels
    for out in scaled(width, 64, 128, 512):
        layers += [nn.Conv2d(c, out, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2)]
        c = out
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(H // 8 * (W // 8) * c, classes, rng=rng))
