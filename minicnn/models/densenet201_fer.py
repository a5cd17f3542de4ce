"""The second report's network: DenseNet-201, four blocks of densely connected layers, and four linear layers."""

from collections.abc import Sequence

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator, he_normal
from minicnn.ops.checks import Size, pair

STEM = 7, 2, 3  # kernel, stride and padding of the first convolution


def densenet201_fer(
    *,
    classes: int = 7,
    input_size: Size = 48,
    channels: int = 1,
    width: float = 1.0,
    layers: Sequence[int] = (6, 12, 48, 32),
    p: float = 0.3,
    rng: Seed = None,
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels); a single channel is repeated to three.

    Features (Huang et al. 2017, arXiv:1608.06993): conv 7x7 64 by 2, BN, ReLU, max pool 3 by 2; dense blocks of 6, 12,
    48, 32 layers of growth 32, and after each but the last a transition that halves the channels and the image (BN,
    ReLU, conv 1x1, average pool 2); BN, ReLU, global average pool (the last two inferred).  Head: Linear 1024, 512, 256
    with ReLU and dropout p (not stated), then Linear.  layers sets the layers of each block, width multiplies every
    other size.  Names and initial weights of the features are torchvision's: He normal, variance 2/fan_in.
    18,092,928 parameters in the features and 2,625,031 in the head for 48x48x1 or 48x48x3 and 7 classes.
    """
    rng = generator(rng)
    pair("densenet201_fer", "input_size", input_size, least=4 * 2 ** (len(layers) - 1) - 3)  # 1x1 at the end
    stem, growth, *hidden = scaled(width, 64, 32, 1024, 512, 256)
    grey: dict[str, nn.Module] = {"repeat": nn.Concat(*(nn.Identity() for _ in range(3)))} if channels == 1 else {}
    features = grey | {
        "conv0": nn.Conv2d(3 if channels == 1 else channels, stem, *STEM, bias=False, rng=rng),
        "norm0": nn.BatchNorm2d(stem),
        "relu0": nn.ReLU(),
        "pool0": nn.MaxPool2d(3, 2, 1),
    }
    c = stem
    for k, depth in enumerate(layers, 1):
        block = features[f"denseblock{k}"] = nn.DenseBlock(c, depth, growth, rng=rng)
        c = block.out_channels
        if k < len(layers):
            features[f"transition{k}"] = _transition(c, c // 2, rng)
            c //= 2
    features |= {f"norm{len(layers) + 1}": nn.BatchNorm2d(c), "relu": nn.ReLU(), "pool": nn.GlobalAvgPool2d()}
    model = nn.Sequential({"features": nn.Sequential(features), "classifier": _head(c, hidden, classes, p, rng)})
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = he_normal(module.weight.shape, rng)
    return model


def _transition(c: int, out: int, rng: Seed) -> nn.Sequential:
    conv = nn.Conv2d(c, out, 1, bias=False, rng=rng)
    return nn.Sequential({"norm": nn.BatchNorm2d(c), "relu": nn.ReLU(), "conv": conv, "pool": nn.AvgPool2d(2)})


def _head(c: int, hidden: Sequence[int], classes: int, p: float, rng: Seed) -> nn.Sequential:
    layers: list[nn.Module] = []
    for out in hidden:
        layers += [nn.Linear(c, out, rng=rng), nn.ReLU(), nn.Dropout(p, rng=rng)]
        c = out
    return nn.Sequential(*layers, nn.Linear(c, classes, rng=rng))
