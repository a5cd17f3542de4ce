"""Mixup: Zhang, Cisse, Dauphin & Lopez-Paz 2018, "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412."""

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.data.augment.transform import Batch, Labels, Transform, number
from minicnn.data.augment.warp import rounded

WHOLE = "a whole number of at least 1, or None"


class Mixup(Transform):
    """Each image blended with another of the batch, and their labels likewise (section 2 of the paper):

        x̃ = λ x_i + (1 − λ) x_j,    ỹ = λ y_i + (1 − λ) y_j,    λ ~ Beta(α, α)

    alpha        α, above 0: near 0 nearly always one of the two, at 1 any blend is as likely
    num_classes  K, for labels that are integers; labels that are probabilities (N, K) say it themselves

    j is image i's place in a random order of the batch, so each image takes part twice; λ is drawn for each i.  Labels
    come out as probabilities (N, K), float32 where integers went in; every loss of this library that takes classes
    takes them.

    At the call, ValueError without labels, for integers without num_classes or outside 0..K-1, and for other shapes.
    """

    def __init__(self, alpha: float = 0.2, num_classes: int | None = None) -> None:
        self.alpha = number("Mixup", "alpha", alpha, "a number above 0", float(np.finfo(np.float32).tiny))
        if num_classes is not None and not number("Mixup", "num_classes", num_classes, WHOLE, 1).is_integer():
            raise ValueError(f"Mixup: num_classes is {num_classes!r}, wanted {WHOLE}")
        self.num_classes = num_classes

    def apply(self, x: Array, y: Labels, rng: np.random.Generator) -> Batch:
        if y is None:
            raise ValueError("Mixup: images came without labels, wanted both, for both are mixed")
        xp, targets = array_module(x), self._probabilities(y)
        other, lam = xp.asarray(rng.permutation(len(x))), rng.beta(self.alpha, self.alpha, len(x))
        mixed = _blend(xp, lam, x.astype("float32") if x.dtype == "uint8" else x, other)
        return rounded(mixed) if x.dtype == "uint8" else mixed, _blend(xp, lam, targets, other)

    def _probabilities(self, y: Array) -> Array:
        """y as (N, K)."""
        if y.dtype.kind == "f":
            if y.ndim != 2 or self.num_classes not in (None, y.shape[1]):
                K = self.num_classes or "K"
                raise ValueError(f"Mixup: y is {y.dtype} of shape {y.shape}, wanted probabilities (N, {K})")
            return y
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise ValueError(f"Mixup: y is {y.dtype} of shape {y.shape}, wanted integers (N,) or probabilities (N, K)")
        if self.num_classes is None:
            raise ValueError("Mixup: num_classes is None and y integers, wanted the number of classes")
        xp, K = array_module(y), self.num_classes
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < K:
            raise ValueError(f"Mixup: y goes from {int(y.min())} to {int(y.max())}, wanted classes in 0..{K - 1}")
        return (y[:, None] == xp.arange(K)).astype("float32")


def _blend(xp, lam: np.ndarray, a: Array, other: Array) -> Array:
    """λ a_i + (1 - λ) a_j."""
    part = xp.asarray(lam.astype(a.dtype)).reshape(-1, *(1,) * (a.ndim - 1))
    return part * a + (1 - part) * a[other]
