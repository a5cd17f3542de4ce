"""The third report's network: five convolutions whose PReLU has a slope for every element."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def prelu_cnn(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    conv 5x5 64 · PReLU · pad 2 · max pool 5 by 2 · two conv 3x3 64 with PReLU · average pool 3 by 2 · two conv 3x3 128
    with PReLU · average pool 3 by 2 · two Linear 512 with PReLU and dropout 0.3 · Linear.  A zero-pad layer stands
    before each convolution but the first and before the last pool.  width multiplies every hidden size.
    2,414,599 parameters for 48x48x1 and 7 classes.
    """
    rng = generator(rng)
    H, W = pair("prelu_cnn", "input_size", input_size, least=12)
    a, b, hidden = scaled(width, 64, 128, 512)
    H, W = H - 4, W - 4
    layers: list[nn.Module] = [nn.Conv2d(channels, a, 5, rng=rng), nn.PReLU((H, W, a))]
    layers += [nn.ZeroPad2d(2), nn.MaxPool2d(5, 2)]
    H, W = (H - 1) // 2 + 1, (W - 1) // 2 + 1
    for _ in range(2):
        layers += [nn.ZeroPad2d(1), nn.Conv2d(a, a, 3, rng=rng), nn.PReLU((H, W, a))]
    layers += [nn.AvgPool2d(3, 2)]
    H, W, c = (H - 3) // 2 + 1, (W - 3) // 2 + 1, a
    for _ in range(2):
        layers += [nn.ZeroPad2d(1), nn.Conv2d(c, b, 3, rng=rng), nn.PReLU((H, W, b))]
        c = b
    layers += [nn.ZeroPad2d(1), nn.AvgPool2d(3, 2), nn.Flatten()]
    features = ((H - 1) // 2 + 1) * ((W - 1) // 2 + 1) * b
    for _ in range(2):
        layers += [nn.Linear(features, hidden, rng=rng), nn.PReLU((hidden,)), nn.Dropout(0.3, rng=rng)]
        features = hidden
    return nn.Sequential(*layers, nn.Linear(hidden, classes, rng=rng))
