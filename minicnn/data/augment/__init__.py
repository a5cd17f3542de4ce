"""Random changes to a batch of training images, and to its labels where they change too.

A transform is called `t(x, y, rng=rng) -> (x, y)`, or `t(x, rng=rng) -> x`, with x (N, H, W, C) and labels y of length
N.  All randomness comes from the Generator, so the same Generator gives the same batch.  What comes out has the dtype
that went in; what went in is never written to.  Any callable that keeps these rules will do.

    geometric.py    RandomHorizontalFlip, RandomRotation, RandomShift, RandomZoom, RandomCrop: affine maps, drawn
    warp.py         the images along such maps, bilinear;  warp_numba.py is its kernel
    erasing.py      RandomErasing
    mixup.py        Mixup, which changes labels too
    compose.py      Compose: one after another, the geometric ones merged
    recipes.py      course(), strong()

The Generator draws parameters on the host; the images may be on a device, where the same definitions run.

A new transform is a subclass of `Transform`: its parameters are its attributes, its work is `apply`.  One that moves
pixels is a subclass of `Geometric`, its work is `matrices`.
"""

from minicnn.data.augment.compose import Compose
from minicnn.data.augment.erasing import RandomErasing
from minicnn.data.augment.geometric import (
    Geometric,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
    RandomZoom,
)
from minicnn.data.augment.mixup import Mixup
from minicnn.data.augment.recipes import course, strong
from minicnn.data.augment.transform import Transform

__all__ = [
    "Compose",
    "Geometric",
    "Mixup",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShift",
    "RandomZoom",
    "Transform",
    "course",
    "strong",
]
