"""The fourth report's dense network: six hidden layers."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def deep_dnn(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, p: float = 0.3, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    Linear 1024, 1024, 768, 768, 512, 512, each with ReLU (inferred) and dropout p (not stated), then Linear.  width
    multiplies every hidden size.  5,447,687 parameters for 48x48x1 and 7 classes.
    """
    rng = generator(rng)
    H, W = pair("deep_dnn", "input_size", input_size, least=1)
    layers: list[nn.Module] = [nn.Flatten()]
    features = H * W * channels
    for hidden in scaled(width, 1024, 1024, 768, 768, 512, 512):
        layers += [nn.Linear(features, hidden, rng=rng), nn.ReLU(), nn.Dropout(p, rng=rng)]
        features = hidden
    return nn.Sequential(*layers, nn.Linear(features, classes, rng=rng))
