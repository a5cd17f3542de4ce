"""The fourth report's network: six convolutions, each fed by a zero-pad layer, and two wide linear layers."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def zero_pad_cnn(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, p: float = 0.3, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    conv 5x5 64 · pad 2 · max pool 5 by 2 · two conv 3x3 64 · average pool 3 by 2 · dropout · conv 3x3 96 · conv 3x3 128
    · dropout · conv 3x3 128 · average pool 3 by 2 · dropout · two Linear 900 with dropout · Linear; ReLU throughout
    (inferred), and a zero-pad layer before each convolution but the first and before the last pool.  p is the
    probability of every dropout, which the report does not state.  width multiplies every hidden size.
    """
    rng = generator(rng)
    H, W = pair("zero_pad_cnn", "input_size", input_size, least=12)
    a, b, c, hidden = scaled(width, 64, 96, 128, 900)

    def conv(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.ZeroPad2d(1), nn.Conv2d(c_in, c_out, 3, rng=rng), nn.ReLU()]

    def drop() -> list[nn.Module]:
        return [nn.Dropout(p, rng=rng)]

    layers: list[nn.Module] = [nn.Conv2d(channels, a, 5, rng=rng), nn.ReLU(), nn.ZeroPad2d(2), nn.MaxPool2d(5, 2)]
    layers += conv(a, a) + conv(a, a) + [nn.AvgPool2d(3, 2)] + drop()
    layers += conv(a, b) + conv(b, c) + drop() + conv(c, c)
    layers += [nn.ZeroPad2d(1), nn.AvgPool2d(3, 2), *drop(), nn.Flatten()]
    H, W = (((n - 5) // 2 + 1 - 3) // 2 for n in (H, W))  # after both poolings by 2, before the last
    features = (H // 2 + 1) * (W // 2 + 1) * c
    for _ in range(2):
        layers += [nn.Linear(features, hidden, rng=rng), nn.ReLU(), *drop()]
        features = hidden
    return nn.Sequential(*layers, nn.Linear(hidden, classes, rng=rng))
