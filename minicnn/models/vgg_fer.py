"""A VGG for small faces: eight 3x3 convolutions in pairs, and two wide linear layers."""

from minicnn import nn
from minicnn.models.sizes import scaled
from minicnn.nn.init import Seed, generator
from minicnn.ops.checks import Size, pair


def vgg_fer(
    *,
    classes: int = 7,
    input_size: Size = 48,
    channels: int = 1,
    width: float = 1.0,
    hidden: int = 4096,
    p: float = 0.2,
    rng: Seed = None,
) -> nn.Sequential:
    """Logits (N, classes) of images (N, *input_size, channels).

    Khaireddin & Chen 2021 (arXiv:2105.03588): 73.28 % on PrivateTest by one network without other data, trained and
    tested on crops of 40x40 (input_size=40).  A pair is twice conv 3x3 "same", BN, ReLU, then max pool 2:

        pair of 64        48x48x1   -> 24x24x64
        pair of 128                 -> 12x12x128
        pair of 256                 -> 6x6x256
        pair of 512                 -> 3x3x512
        flatten                     -> 4608
        Linear, ReLU, dropout       -> hidden = 4096
        Linear, ReLU, dropout       -> hidden
        Linear                      -> classes

    The convolutions have no bias, which BN would subtract again.  p is the probability of both dropouts (0.2 in the
    authors' program).  width multiplies every size, that of hidden too.  40,374,599 parameters for 48x48x1 and 7
    classes, of which 35,688,455 are the linear layers': a smaller hidden makes a far smaller network.
    """
    rng = generator(rng)
    H, W = pair("vgg_fer", "input_size", input_size, least=16)
    features: list[nn.Module] = []
    c = channels
    for out in scaled(width, 64, 128, 256, 512):
        for c_in in (c, out):
            conv = nn.Conv2d(c_in, out, 3, padding=1, bias=False, rng=rng)
            features += [conv, nn.BatchNorm2d(out), nn.ReLU()]
        features += [nn.MaxPool2d(2)]
        c = out
    (wide,) = scaled(width, hidden)
    classifier: list[nn.Module] = []
    for f in (H // 16 * (W // 16) * c, wide):
        classifier += [nn.Linear(f, wide, rng=rng), nn.ReLU(), nn.Dropout(p, rng=rng)]
    classifier += [nn.Linear(wide, classes, rng=rng)]
    parts = {"features": nn.Sequential(*features), "flatten": nn.Flatten(), "classifier": nn.Sequential(*classifier)}
    return nn.Sequential(parts)
