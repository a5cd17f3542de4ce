"""The first report's network: three convolutions without padding, with dropout of whole channels."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def three_conv(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    Three times conv 3x3 (48, 128, 256), Dropout2d (0.3, 0.4, 0.4), max pooling by 2, ReLU; then Linear 512, 256 with
    ReLU between (inferred) and the classes.  width multiplies every hidden size.
    """
    rng = generator(rng)
    H, W = pair("three_conv", "input_size", input_size, least=22)
    sizes, c = scaled(width, 48, 128, 256), channels
    layers: list[nn.Module] = []
    for out, p in zip(sizes, (0.3, 0.4, 0.4), strict=True):
        layers += [nn.Conv2d(c, out, 3, rng=rng), nn.Dropout2d(p, rng=rng), nn.MaxPool2d(2), nn.ReLU()]
        H, W, c = (H - 2) // 2, (W - 2) // 2, out
    wide, narrow = scaled(width, 512, 256)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(H * W * c, wide, rng=rng),
        nn.ReLU(),
        nn.Linear(wide, narrow, rng=rng),
        nn.ReLU(),
        nn.Linear(narrow, classes, rng=rng),
    )
