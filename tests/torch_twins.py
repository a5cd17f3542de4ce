"""PyTorch's counterparts of our layers and of a network, and how states compare: what test_torch_parity.py needs."""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn as theirs

from minicnn import nn


class ChannelsLast(theirs.Module):
    """(N, C, H, W) -> (N, H, W, C), so that a Flatten behind it counts as ours does."""

    def forward(self, x):
        return x.movedim(1, -1)


class TheirResidual(theirs.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class TheirConcat(theirs.Module):
    def __init__(self, *branches):
        super().__init__()
        self.branches = theirs.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class TheirDenseLayer(theirs.Sequential):
    """torchvision's names."""

    def __init__(self, channels, growth, bottleneck):
        super().__init__()
        width = bottleneck * growth
        self.norm1, self.relu1 = theirs.BatchNorm2d(channels), theirs.ReLU()
        self.conv1 = theirs.Conv2d(channels, width, 1, bias=False)
        self.norm2, self.relu2 = theirs.BatchNorm2d(width), theirs.ReLU()
        self.conv2 = theirs.Conv2d(width, growth, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


def their_dense_block(channels, layers, growth, bottleneck):
    block = theirs.Sequential()
    for k in range(layers):
        block.add_module(f"denselayer{k + 1}", TheirDenseLayer(channels + k * growth, growth, bottleneck))
    return block


IMAGES, ROWS_OF_FEATURES = (3, 6, 7, 4), (5, 4)
LAYERS = [  # (ours, PyTorch's, the shape of an input)
    (nn.Linear(4, 3), theirs.Linear(4, 3), ROWS_OF_FEATURES),
    (nn.Linear(4, 3, bias=False), theirs.Linear(4, 3, bias=False), (2, 3, 4)),
    (nn.Conv2d(4, 6, 3), theirs.Conv2d(4, 6, 3), IMAGES),
    (nn.Conv2d(4, 6, (3, 2), 2, 1, 2, 2, False), theirs.Conv2d(4, 6, (3, 2), 2, 1, 2, 2, False), IMAGES),
    (nn.ConvTranspose2d(4, 5, 3), theirs.ConvTranspose2d(4, 5, 3), IMAGES),
    (nn.ConvTranspose2d(4, 5, 3, 2, 1, 1), theirs.ConvTranspose2d(4, 5, 3, 2, 1, 1), IMAGES),
    (nn.BatchNorm1d(4), theirs.BatchNorm1d(4), ROWS_OF_FEATURES),
    (nn.BatchNorm1d(4, 1e-3, 0.3), theirs.BatchNorm1d(4, 1e-3, 0.3), (3, 5, 4)),
    (nn.BatchNorm2d(4), theirs.BatchNorm2d(4), IMAGES),
    (nn.BatchNorm2d(4, 1e-2, 0.5), theirs.BatchNorm2d(4, 1e-2, 0.5), IMAGES),
    (nn.LayerNorm(4), theirs.LayerNorm(4), ROWS_OF_FEATURES),
    (nn.LayerNorm(4, eps=0.1), theirs.LayerNorm(4, eps=0.1), ROWS_OF_FEATURES),
    (nn.GroupNorm(2, 4), theirs.GroupNorm(2, 4), IMAGES),
    (nn.GroupNorm(4, 4, 0.1), theirs.GroupNorm(4, 4, 0.1), IMAGES),
    (nn.MaxPool2d(2), theirs.MaxPool2d(2), IMAGES),
    (nn.MaxPool2d(3, 2, 1, ceil_mode=True), theirs.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGES),
    (nn.AvgPool2d((2, 3)), theirs.AvgPool2d((2, 3)), IMAGES),
    (nn.AvgPool2d(3, 2, 1, True, False), theirs.AvgPool2d(3, 2, 1, True, False), IMAGES),
    (nn.GlobalAvgPool2d(), theirs.Sequential(theirs.AdaptiveAvgPool2d(1), theirs.Flatten()), IMAGES),
    (nn.ZeroPad2d(1), theirs.ZeroPad2d(1), IMAGES),
    (nn.ZeroPad2d((1, 2)), theirs.ZeroPad2d((2, 2, 1, 1)), IMAGES),
    (nn.ZeroPad2d((1, 2, 3, 0)), theirs.ZeroPad2d((3, 0, 1, 2)), IMAGES),
    (nn.Flatten(), theirs.Sequential(ChannelsLast(), theirs.Flatten()), IMAGES),
    (nn.Identity(), theirs.Identity(), IMAGES),
    (nn.Dropout(0.0), theirs.Dropout(0.0), IMAGES),
    (nn.Dropout2d(0.0), theirs.Dropout2d(0.0), IMAGES),
    (nn.ReLU(), theirs.ReLU(), IMAGES),
    (nn.LeakyReLU(), theirs.LeakyReLU(), IMAGES),
    (nn.LeakyReLU(0.2), theirs.LeakyReLU(0.2), IMAGES),
    (nn.PReLU(), theirs.PReLU(), IMAGES),
    (nn.PReLU(4, 0.1), theirs.PReLU(4, 0.1), IMAGES),
    (nn.ELU(), theirs.ELU(), IMAGES),
    (nn.ELU(0.5), theirs.ELU(0.5), IMAGES),
    (nn.GELU(), theirs.GELU(), IMAGES),
    (nn.GELU(approximate=True), theirs.GELU(approximate="tanh"), IMAGES),
    (nn.SiLU(), theirs.SiLU(), IMAGES),
    (nn.Sigmoid(), theirs.Sigmoid(), IMAGES),
    (nn.Tanh(), theirs.Tanh(), IMAGES),
    (nn.Softplus(), theirs.Softplus(), IMAGES),
    (nn.Softmax(), theirs.Softmax(1), IMAGES),
    (
        nn.Residual(nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.Tanh()), nn.Conv2d(4, 5, 1)),
        TheirResidual(
            theirs.Sequential(theirs.Conv2d(4, 5, 3, padding=1), theirs.Tanh()),
            theirs.Conv2d(4, 5, 1),
        ),
        IMAGES,
    ),
    (nn.Residual(nn.Conv2d(4, 4, 1)), TheirResidual(theirs.Conv2d(4, 4, 1), theirs.Identity()), IMAGES),
    (
        nn.Concat(nn.Conv2d(4, 2, 1), nn.Identity(), nn.ConvTranspose2d(4, 3, 3, padding=1)),
        TheirConcat(theirs.Conv2d(4, 2, 1), theirs.Identity(), theirs.ConvTranspose2d(4, 3, 3, padding=1)),
        IMAGES,
    ),
    (nn.DenseLayer(4, 3, 2), TheirDenseLayer(4, 3, 2), IMAGES),
    (nn.DenseBlock(4, 3, 2), their_dense_block(4, 3, 2, 4), IMAGES),
    (nn.Sequential(nn.Linear(4, 3), nn.ReLU()), theirs.Sequential(theirs.Linear(4, 3), theirs.ReLU()), (2, 4)),
]


def their_leaky_bn_cnn(hidden, last):
    """The network of models.leaky_bn_cnn in PyTorch; hidden are its stages' channels, last its layer of features."""
    layers, c = [], 1
    for kernel, channels in zip((5, 3, 3, 3), hidden, strict=True):
        layers += [theirs.Conv2d(c, channels, kernel, padding="same"), theirs.LeakyReLU(0.2)]
        layers += [theirs.BatchNorm2d(channels), theirs.MaxPool2d(2)]
        c = channels
    layers += [theirs.Sequential(ChannelsLast(), theirs.Flatten()), theirs.Linear(2 * 2 * c, last)]
    return theirs.Sequential(*layers, theirs.LeakyReLU(0.2), theirs.Dropout(0.0), theirs.Linear(last, 7)).double()


def their_densenet(stem, growth, layers, hidden):
    """The network of models.densenet201_fer in PyTorch, on three channels, under torchvision's names."""
    parts = {"conv0": theirs.Conv2d(3, stem, 7, 2, 3, bias=False), "norm0": theirs.BatchNorm2d(stem)}
    parts |= {"relu0": theirs.ReLU(), "pool0": theirs.MaxPool2d(3, 2, 1)}
    c = stem
    for k, depth in enumerate(layers, 1):
        parts[f"denseblock{k}"] = their_dense_block(c, depth, growth, 4)
        c += depth * growth
        if k < len(layers):
            transition = {"norm": theirs.BatchNorm2d(c), "relu": theirs.ReLU()}
            transition |= {"conv": theirs.Conv2d(c, c // 2, 1, bias=False), "pool": theirs.AvgPool2d(2)}
            parts[f"transition{k}"] = theirs.Sequential(OrderedDict(transition))
            c //= 2
    parts |= {f"norm{len(layers) + 1}": theirs.BatchNorm2d(c), "relu": theirs.ReLU()}
    parts |= {"pool": theirs.AdaptiveAvgPool2d(1), "flat": theirs.Flatten()}
    head = []
    for out in hidden:
        head += [theirs.Linear(c, out), theirs.ReLU(), theirs.Dropout(0.0)]
        c = out
    parts = {
        "features": theirs.Sequential(OrderedDict(parts)),
        "classifier": theirs.Sequential(*head, theirs.Linear(c, 7)),
    }
    return theirs.Sequential(OrderedDict(parts)).double()


def their_pairs(c, channels):
    """The convolutions of models.vgg_fer: pairs of conv, BN, ReLU with a max pool by 2 behind."""
    layers = []
    for out in channels:
        for c_in in (c, out):
            layers += [theirs.Conv2d(c_in, out, 3, padding=1, bias=False), theirs.BatchNorm2d(out), theirs.ReLU()]
        layers, c = [*layers, theirs.MaxPool2d(2)], out
    return theirs.Sequential(*layers)


def their_vgg(channels, pixels, hidden):
    """The network of models.vgg_fer in PyTorch, on one channel; pixels are those before its linear layers."""
    features, wide = their_pairs(1, channels), theirs.Linear(pixels * channels[-1], hidden)
    head = [wide, theirs.ReLU(), theirs.Dropout(0.0), theirs.Linear(hidden, hidden), theirs.ReLU(), theirs.Dropout(0.0)]
    parts = {"features": features, "flatten": theirs.Sequential(ChannelsLast(), theirs.Flatten())}
    parts["classifier"] = theirs.Sequential(*head, theirs.Linear(hidden, 7))
    return theirs.Sequential(OrderedDict(parts)).double()


def their_block(c, out, stride):
    """A residual block of models.resnet18_fer."""
    body = {"conv1": theirs.Conv2d(c, out, 3, stride, 1, bias=False), "bn1": theirs.BatchNorm2d(out)}
    body |= {"relu": theirs.ReLU(), "conv2": theirs.Conv2d(out, out, 3, 1, 1, bias=False)}
    body |= {"bn2": theirs.BatchNorm2d(out)}
    shortcut = {"conv": theirs.Conv2d(c, out, 1, stride, bias=False), "bn": theirs.BatchNorm2d(out)}
    shortcut = shortcut if stride > 1 else {}
    parts = [theirs.Sequential(OrderedDict(p)) for p in (body, shortcut)]
    return theirs.Sequential(OrderedDict(residual=TheirResidual(*parts), relu=theirs.ReLU()))


def their_resnet18(channels):
    """The network of models.resnet18_fer in PyTorch, on one channel."""
    c = channels[0]
    parts = {"conv1": theirs.Conv2d(1, c, 3, 1, 1, bias=False), "bn1": theirs.BatchNorm2d(c), "relu": theirs.ReLU()}
    for k, out in enumerate(channels, 1):
        parts[f"layer{k}"] = theirs.Sequential(their_block(c, out, 1 if k == 1 else 2), their_block(out, out, 1))
        c = out
    parts |= {"avgpool": theirs.AdaptiveAvgPool2d(1), "flat": theirs.Flatten(), "fc": theirs.Linear(c, 7)}
    return theirs.Sequential(OrderedDict(parts)).double()


def their_separable(c, out):
    depthwise = theirs.Conv2d(c, c, 3, padding="same", groups=c, bias=False)
    return [depthwise, theirs.Conv2d(c, out, 1, bias=False), theirs.BatchNorm2d(out)]


def their_mini_xception(stem, channels):
    """The network of models.mini_xception in PyTorch, on one channel."""
    layers, c = [], 1
    for out in stem:
        layers, c = [*layers, theirs.Conv2d(c, out, 3, bias=False), theirs.BatchNorm2d(out), theirs.ReLU()], out
    parts = {"stem": theirs.Sequential(*layers)}
    for k, out in enumerate(channels, 1):
        body = [*their_separable(c, out), theirs.ReLU(), *their_separable(out, out), theirs.MaxPool2d(3, 2, 1)]
        shortcut = theirs.Sequential(theirs.Conv2d(c, out, 1, 2, bias=False), theirs.BatchNorm2d(out))
        parts[f"block{k}"], c = TheirResidual(theirs.Sequential(*body), shortcut), out
    parts |= {"conv": theirs.Conv2d(c, 7, 3, padding=1), "pool": theirs.AdaptiveAvgPool2d(1), "flat": theirs.Flatten()}
    return theirs.Sequential(OrderedDict(parts)).double()


def close(got, want, tolerance=1e-9):
    got, want = (a.detach().numpy() if isinstance(a, torch.Tensor) else np.asarray(a) for a in (got, want))
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max(initial=1e-300))


def to_torch(a):
    """A weight, or the gradient of one, in PyTorch's layout."""
    return a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T


def copy_state(ours, torchs):
    """Give PyTorch's module our weights and statistics."""
    state = {key: torch.tensor(np.ascontiguousarray(to_torch(a))) for key, a in ours.state_dict().items()}
    found = torchs.load_state_dict(state, strict=False)
    assert not found.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in found.missing_keys)


def same_state(ours, torchs):
    wanted = torchs.state_dict()
    for key, a in ours.state_dict().items():
        close(to_torch(a), wanted[key])


def same_gradients(ours, torchs):
    for (name, p), (their_name, q) in zip(ours.named_parameters(), torchs.named_parameters(), strict=True):
        assert name == their_name
        close(to_torch(p.grad), q.grad)


def shuffled(module, rng):
    """The module in float64, with weights and statistics of 0.5 to 2, weights of either sign."""
    module.astype("float64").load_state_dict(
        {
            key: rng.uniform(0.5, 2, a.shape) * (1 if key.endswith("var") else rng.choice([-1, 1], a.shape))
            for key, a in module.state_dict().items()
        }
    )
    return module


def there(x):
    """x as PyTorch's modules want it, channels second."""
    return torch.as_tensor(x).movedim(-1, 1)


def back(y):
    return y.movedim(1, -1)
