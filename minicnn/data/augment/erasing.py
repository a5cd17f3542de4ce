"""Random erasing: Zhong, Zheng, Kang, Li & Yang 2017, "Random Erasing Data Augmentation", arXiv:1708.04896."""

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.data.augment.transform import Batch, Labels, Transform, interval, number, probability
from minicnn.data.augment.warp import rounded

TRIES = 10  # rectangles drawn for an image; one with none that fits stays whole


class RandomErasing(Transform):
    """In each image, with probability p, a rectangle at a random place painted over.

    p       of the paper's experiments
    area    (low, high), the rectangle's share of the image, drawn uniformly; the paper's s_l and s_h
    aspect  (low, high), its height over its width, drawn uniformly in the logarithm, so that tall and wide are as
            likely; the paper's r₁ and 1/r₁, where it draws uniformly
    value   a number; "mean", of the image's pixels, each channel for itself; or "random", for each pixel and channel
            one from 0 to 1, in uint8 images from 0 to 255

    With share s and aspect r the rectangle has √(s H W r) rows and √(s H W / r) columns, rounded, at least one of each.
    The paper draws shape and place until both fit; here the first shape of ten that fits is placed anywhere it fits.
    """

    def __init__(
        self,
        p: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
        value: float | str = 0.0,
    ) -> None:
        self.p = probability("RandomErasing", p)
        self.area = interval("RandomErasing", "area", area, "(low, high) from 0 to 1", 0, 1)
        tiny = float(np.finfo(np.float32).tiny)
        self.aspect = interval("RandomErasing", "aspect", aspect, "(low, high) above 0", tiny)
        if value not in ("mean", "random"):
            value = number("RandomErasing", "value", value, "a number, 'mean' or 'random'", -np.inf)
        self.value = value

    def apply(self, x: Array, y: Labels, rng: np.random.Generator) -> Batch:
        N, H, W, _ = x.shape
        xp, (top, left, height, width) = array_module(x), self._rectangles(N, H, W, rng)
        rows, columns = (
            (at[:, None] <= line) & (line < (at + length)[:, None])
            for at, length, line in ((top, height, np.arange(H)), (left, width, np.arange(W)))
        )
        erased = xp.asarray(rows)[:, :, None, None] & xp.asarray(columns)[:, None, :, None]
        return xp.where(erased, self._paint(xp, x, rng), x), y

    def _rectangles(self, N: int, H: int, W: int, rng: np.random.Generator) -> np.ndarray:
        """(4, N): top, left, height and width; no rows and columns in an image that stays whole."""
        low, high = np.log(self.aspect)
        share, tall = rng.uniform(*self.area, (N, TRIES)), np.exp(rng.uniform(low, high, (N, TRIES)))
        height, width = (np.maximum(np.rint(np.sqrt(share * (H * W) * r)), 1) for r in (tall, 1 / tall))
        fits = (height <= H) & (width <= W)
        first = np.arange(N), fits.argmax(axis=1)
        height, width, erased = height[first], width[first], fits[first] & (rng.random(N) < self.p)
        top, left = (np.floor(rng.random(N) * (S - k + 1)) for S, k in ((H, height), (W, width)))
        return np.where(erased, np.stack([top, left, height, width]), 0)

    def _paint(self, xp, x: Array, rng: np.random.Generator) -> Array:
        """What the rectangles show, in the dtype of x."""
        if self.value == "random":
            if x.dtype == "uint8":
                return xp.asarray(rng.integers(0, 256, x.shape, "uint8"))
            return xp.asarray(rng.random(x.shape, "float32")).astype(x.dtype)
        if self.value == "mean":
            value = x.mean(axis=(1, 2), keepdims=True, dtype="float64")
        else:
            value = xp.asarray(self.value, "float64")
        return rounded(value) if x.dtype == "uint8" else value.astype(x.dtype)
