"""A network of depthwise-separable convolutions with shortcuts, of 57 thousand parameters."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def mini_xception(
    *, classes: int = 7, input_size: Size = 48, channels: int = 1, width: float = 1.0, rng: Seed = None
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    Arriaga et al. 2017 (arXiv:1710.07557, section III): 66 % on FER2013 with a fortieth of the usual parameters.  A
    separable convolution is a depthwise 3x3 "same" and a pointwise 1x1, nothing between (Chollet 2017,
    arXiv:1610.02357); a block is body(x) + shortcut(x), the body separable, BN, ReLU, separable, BN, max pool 3 by 2,
    the shortcut conv 1x1 by 2, BN:

        stem: twice conv 3x3 without padding, BN, ReLU      48x48x1 -> 44x44x8
        blocks of 16, 32, 64, 128           -> 22x22x16 -> 11x11x32 -> 6x6x64 -> 3x3x128
        conv 3x3 "same", global average pool                        -> 3x3xclasses -> classes

    Only the last convolution has a bias.  The pools pad one row on every side, where the authors' program pads only
    behind an even size.  width multiplies every size but that of the classes.  56,951 parameters for 48x48x1 and 7
    classes, as in that program.
    """
    rng = generator(rng)
    pair("mini_xception", "input_size", input_size, least=5)
    first, second, *blocks = scaled(width, 8, 8, 16, 32, 64, 128)
    stem: list[nn.Module] = []
    for c, out in ((channels, first), (first, second)):
        stem += [nn.Conv2d(c, out, 3, bias=False, rng=rng), nn.BatchNorm2d(out), nn.ReLU()]
    layers: dict[str, nn.Module] = {"stem": nn.Sequential(*stem)}
    c = second
    for k, out in enumerate(blocks, 1):
        layers[f"block{k}"] = _block(c, out, rng)
        c = out
    layers |= {"conv": nn.Conv2d(c, classes, 3, padding=1, rng=rng), "pool": nn.GlobalAvgPool2d()}
    return nn.Sequential(layers)


def _block(c: int, out: int, rng: Seed) -> nn.Residual:
    body = [*_separable(c, out, rng), nn.ReLU(), *_separable(out, out, rng), nn.MaxPool2d(3, 2, 1)]
    shortcut = nn.Sequential(nn.Conv2d(c, out, 1, 2, bias=False, rng=rng), nn.BatchNorm2d(out))
    return nn.Residual(nn.Sequential(*body), shortcut)


def _separable(c: int, out: int, rng: Seed) -> list[nn.Module]:
    depthwise = nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False, rng=rng)
    return [depthwise, nn.Conv2d(c, out, 1, bias=False, rng=rng), nn.BatchNorm2d(out)]
