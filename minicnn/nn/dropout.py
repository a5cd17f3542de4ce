"""The dropout layers."""

from minicnn.nn.init import Seed, generator
from minicnn.nn.module import Module
from minicnn.ops import dropout


class Dropout(Module):
    """`ops.dropout` in training, the identity in evaluation.

    `rng` draws a key for every call; give a Generator or a seed for repeatable masks (Trainer gives one).  While `rng`
    is an int, that is the key and every call has the same mask.
    """

    channelwise = False

    def __init__(self, p: float = 0.5, *, rng: Seed = None):
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p is {p}, wanted a probability in 0..1")
        self.p, self.rng = p, generator(rng)

    def forward(self, x):
        if not self.training or self.p == 0:
            return x, None
        return dropout.forward(x, p=self.p, rng=self.rng, channelwise=self.channelwise)

    def gradient(self, dy, cache):
        return dy if cache is None else dropout.backward(dy, cache)[0]


class Dropout2d(Dropout):
    """Dropout of whole channels."""

    channelwise = True
