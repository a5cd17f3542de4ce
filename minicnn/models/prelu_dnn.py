"""The third report's dense network, of prelu_cnn's parameter budget."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def prelu_dnn(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    Six Linear 512 with a PReLU of one slope an element, dropout 0.3 after the last two, Linear.  width multiplies every
    hidden size.  2,500,103 parameters for 48x48x1 and 7 classes.
    """
    rng = generator(rng)
    H, W = pair("prelu_dnn", "input_size", input_size, least=1)
    (hidden,), features = scaled(width, 512), H * W * channels
    layers: list[nn.Module] = [nn.Flatten()]
    for k in range(6):
        layers += [nn.Linear(features, hidden, rng=rng), nn.PReLU((hidden,))]
        layers += [nn.Dropout(0.3, rng=rng)] if k >= 4 else []
        features = hidden
    return nn.Sequential(*layers, nn.Linear(hidden, classes, rng=rng))
