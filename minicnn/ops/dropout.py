"""Dropout (Srivastava et al. 2014, JMLR 15, section 10; "inverted": scaled in training, nothing to do in evaluation).

Forward.  Each element k, in C order, is kept with probability 1 − p:

    yₖ = sₖ xₖ,   sₖ = 1/(1 − p) if element k is kept, else 0                            (1)

so that E[yₖ] = xₖ.  For p = 1 every sₖ is 0.  With channelwise, an element of the (N, C) grid stands for a whole map
x[n,...,c] (Tompson et al. 2015, arXiv:1411.4280, "spatial dropout"; PyTorch's Dropout2d).

Which elements are kept is a function of a 64-bit key and of k alone, so every device and every order of computation
finds the same bits, and backward finds them again instead of storing them.  With h the 32-bit finaliser of MurmurHash3,

    h(c): c ^= c >> 16; c *= 0x85EBCA6B; c ^= c >> 13; c *= 0xC2B2AE35; c ^= c >> 16      (2)
    a = h(key mod 2³²),   b = h((key div 2³²) ^ a)                                       (3)
    uₖ = h(h((k mod 2³²) ^ a) + b + 0x9E3779B9 (k div 2³²))                              (4)

all modulo 2³²; element k is kept if uₖ >= p 2³².  (One round of h would not do: with uₖ = h(k + key) the masks of two
keys that differ by 1 are one mask, shifted by one element.)

Backward.  s does not depend on x, so by (1)

    dxₖ = sₖ dyₖ                                                                          (5)
"""

import math
from typing import NamedTuple

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import checks

MASK32 = 0xFFFFFFFF


class Cache(NamedTuple):
    key: int
    p: float
    channelwise: bool
    shape: tuple[int, ...]


@accelerated("numba")
def forward(x: Array, *, p: float, rng: np.random.Generator | int, channelwise: bool = False) -> tuple[Array, Cache]:
    """y by (1).  rng is a Generator, from which one 64-bit key is drawn, or such a key as an int."""
    checks.floating("dropout", x=x)
    p = float(p)  # a NumPy float64 would make float32 arrays float64
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}, wanted a probability in 0..1")
    if channelwise and x.ndim < 2:
        raise ValueError(f"dropout: channelwise needs (N, ..., C), x has shape {x.shape}")
    cache = Cache(draw_key(rng), p, channelwise, x.shape)
    return x * scale(x, cache), cache  # (1)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """(dx,) from dy = ∂L/∂y."""
    checks.upstream("dropout", dy, cache.shape)
    return (dy * scale(dy, cache),)  # (5)


def draw_key(rng: np.random.Generator | int) -> int:
    """A 64-bit key: drawn from a Generator, or the int itself.  TypeError for anything else."""
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(0, 2**64, dtype="uint64"))
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        return int(rng) % 2**64
    raise TypeError(f"dropout: rng is a {type(rng).__name__}, wanted a numpy.random.Generator or an int key")


def scale(like: Array, cache: Cache) -> Array:
    """s of (1) in the dtype and on the device of `like`, of a shape that broadcasts against it."""
    key, p, channelwise, shape = cache
    grid = (shape[0], *[1] * (len(shape) - 2), shape[-1]) if channelwise else shape
    xp = array_module(like)
    if p == 1:
        return xp.zeros(grid, like.dtype)
    kept = hash32(xp, key, math.prod(grid)) >= int(p * 2**32)  # (4)
    return (kept.astype(like.dtype) / (1 - p)).reshape(grid)  # (1)


def hash32(xp, key: int, n: int) -> Array:
    """u of (4) for elements 0..n-1, as uint32; xp is the array library."""
    index = xp.arange(n, dtype="uint64")
    low, high = (index & MASK32).astype("uint32"), (index >> 32).astype("uint32")
    a = _finalise(xp.asarray([key & MASK32], "uint32"))
    b = _finalise(xp.asarray([key >> 32], "uint32") ^ a)  # (3)
    return _finalise(_finalise(low ^ a) + b + 0x9E3779B9 * high)  # (4)


def _finalise(c: Array) -> Array:
    c = (c ^ (c >> 16)) * 0x85EBCA6B
    c = (c ^ (c >> 13)) * 0xC2B2AE35
    return c ^ (c >> 16)  # (2)
