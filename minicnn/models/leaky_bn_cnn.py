"""The fifth report's network: four stages of convolution, LeakyReLU, batch normalisation and pooling."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def leaky_bn_cnn(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    conv 5x5 32, then conv 3x3 64, 128, 128, all with "same" padding and each followed by LeakyReLU 0.2, BN and max
    pooling by 2; then Linear 256, LeakyReLU 0.2, Dropout 0.5, Linear.  width multiplies every hidden size.
    538,439 parameters for 48x48x1 and 7 classes.
    """
    rng = generator(rng)
    H, W = pair("leaky_bn_cnn", "input_size", input_size, least=16)
    sizes, c = scaled(width, 32, 64, 128, 128), channels
    layers: list[nn.Module] = []
    for kernel, out in zip((5, 3, 3, 3), sizes, strict=True):
        layers += [
            nn.Conv2d(c, out, kernel, padding=kernel // 2, rng=rng),
            nn.LeakyReLU(0.2),
            nn.BatchNorm2d(out),
            nn.MaxPool2d(2),
        ]
        c = out
    (hidden,) = scaled(width, 256)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(H // 16 * (W // 16) * c, hidden, rng=rng),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.5, rng=rng),
        nn.Linear(hidden, classes, rng=rng),
    )
