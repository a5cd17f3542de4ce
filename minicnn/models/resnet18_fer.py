"""ResNet-18 for small images: a 3x3 stem, and eight residual blocks of two convolutions."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator, he_normal
from minicnn.ops.checks import Size, pair


def resnet18_fer(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    He et al. 2016 (arXiv:1512.03385, section 4.1, table 1), with the stem for small images of their section 4.2: one
    convolution 3x3 by 1 in place of 7x7 by 2 and a max pool.  A block is ReLU(body(x) + shortcut(x)); body is conv 3x3,
    BN, ReLU, conv 3x3, BN; the shortcut is x itself, or conv 1x1, BN where the block changes the shape of x:

        conv1, bn1, relu            48x48x1 -> 48x48x64
        layer1: 2 blocks of 64              -> 48x48x64
        layer2: 2 blocks of 128, by 2       -> 24x24x128
        layer3: 2 blocks of 256, by 2       -> 12x12x256
        layer4: 2 blocks of 512, by 2       -> 6x6x512
        avgpool (global)                    -> 512
        fc: Linear                          -> classes

    Names are torchvision's, but for the two parts of a block.  No convolution has a bias; their weights are He normal.
    width multiplies every size but that of the classes.  11,171,271 parameters for 48x48x1 and 7 classes.
    """
    rng = generator(rng)
    pair("resnet18_fer", "input_size", input_size, least=1)
    sizes = scaled(width, 64, 128, 256, 512)
    c = sizes[0]
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, c, 3, padding=1, bias=False, rng=rng),
        "bn1": nn.BatchNorm2d(c),
        "relu": nn.ReLU(),
    }
    for k, out in enumerate(sizes, 1):
        layers[f"layer{k}"] = nn.Sequential(_block(c, out, 1 if k == 1 else 2, rng), _block(out, out, 1, rng))
        c = out
    model = nn.Sequential(layers | {"avgpool": nn.GlobalAvgPool2d(), "fc": nn.Linear(c, classes, rng=rng)})
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = he_normal(module.weight.shape, rng)
    return model


def _block(c: int, out: int, stride: int, rng: Seed) -> nn.Sequential:
    body = {
        "conv1": nn.Conv2d(c, out, 3, stride, 1, bias=False, rng=rng),
        "bn1": nn.BatchNorm2d(out),
        "relu": nn.ReLU(),
        "conv2": nn.Conv2d(out, out, 3, padding=1, bias=False, rng=rng),
        "bn2": nn.BatchNorm2d(out),
    }
    shortcut = None
    if stride > 1 or c != out:
        conv = nn.Conv2d(c, out, 1, stride, bias=False, rng=rng)
        shortcut = nn.Sequential({"conv": conv, "bn": nn.BatchNorm2d(out)})
    return nn.Sequential({"residual": nn.Residual(nn.Sequential(body), shortcut), "relu": nn.ReLU()})
