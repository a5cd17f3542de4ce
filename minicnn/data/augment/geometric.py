"""Transforms that move pixels: each draws an affine map for each image, and several are one map and one resampling.

A transform gives the matrices, (3, 3), that take a point (h, w, 1) of its output to the point of its input whose value
stands there (`warp`, (1)).  After transform A, with y(u) = x(A u), transform B makes

    z(u) = y(B u) = x(A B u)                                                             (1)

so that the matrices of a sequence are multiplied in its order, and the pixels are read once, from x: what is blended
once is sharper than what is blended in each step, and what has left the image in one step can come back in the next.

Turning and scaling keep the centre c = ((H − 1)/2, (W − 1)/2).  With L what they do about the origin,

    A u = c + L (u − c) = L u + (c − L c)                                                (2)
"""

import abc
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn.backend import Array, array_module
from minicnn.data.augment import transform
from minicnn.data.augment.transform import Batch, Labels, Transform
from minicnn.data.augment.warp import FILL_MODES, warp

Size = tuple[int, int]


class Geometric(Transform):
    """A transform whose work is `matrices`; `Compose` merges those that follow each other.

    fill_mode, fill_value  what stands beyond the edges, as `warp` has them; None where the map never leaves the image
    """

    fill_mode: str | None = None
    fill_value: float = 0.0

    @abc.abstractmethod
    def matrices(self, N: int, size: Size, rng: np.random.Generator) -> np.ndarray:
        """(N, 3, 3): from points of the output to points of N images of this size (H, W)."""

    def output_size(self, size: Size) -> Size:
        """(OH, OW) of what becomes of images of this size (H, W)."""
        return size

    def apply(self, x: Array, y: Labels, rng: np.random.Generator) -> Batch:
        return resample([self], x, rng), y

    def _fill(self, fill_mode: str, fill_value: float) -> None:
        """Check and keep what stands beyond the edges."""
        owner = type(self).__name__
        if fill_mode not in FILL_MODES:
            raise ValueError(f"{owner}: fill_mode is {fill_mode!r}, wanted one of {', '.join(FILL_MODES)}")
        self.fill_mode = fill_mode
        self.fill_value = transform.number(owner, "fill_value", fill_value, "a finite number", -np.inf)


def resample(transforms: Iterable[Geometric], x: Array, rng: np.random.Generator) -> Array:
    """x after these transforms, whose fills agree, in one resampling."""
    size: Size = x.shape[1:3]
    product, fill = np.broadcast_to(np.eye(3), (len(x), 3, 3)), {}
    for t in transforms:
        product = product @ t.matrices(len(x), size, rng)  # (1)
        size = t.output_size(size)
        if t.fill_mode is not None:
            fill = {"fill_mode": t.fill_mode, "fill_value": t.fill_value}
    return warp(x, product[:, :2], size=size, **fill)


class RandomHorizontalFlip(Geometric):
    """Each image mirrored left to right with probability p, for a face keeps its expression in the mirror."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = transform.probability("RandomHorizontalFlip", p)

    def matrices(self, N: int, size: Size, rng: np.random.Generator) -> np.ndarray:
        A = _identities(N)
        A[self._drawn(N, rng), 1, 1:] = -1, size[1] - 1
        return A

    def apply(self, x: Array, y: Labels, rng: np.random.Generator) -> Batch:
        xp = array_module(x)
        flipped = xp.asarray(self._drawn(len(x), rng))
        return xp.where(flipped[:, None, None, None], x[:, :, ::-1], x), y

    def _drawn(self, N: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random(N) < self.p


class RandomRotation(Geometric):
    """Each image turned about its centre by an angle drawn uniformly.

    degrees  d for angles from -d to d, or (low, high); above 0 is counter-clockwise, 90 is `np.rot90` of a square
    """

    def __init__(self, degrees: Any, fill_mode: str = "nearest", fill_value: float = 0.0) -> None:
        owner, wanted = "RandomRotation", "a number of at least 0, or (low, high)"
        if not _is_pair(degrees):
            limit = transform.number(owner, "degrees", degrees, wanted, 0)
            degrees = -limit, limit
        self.degrees = transform.interval(owner, "degrees", degrees, wanted, -np.inf)
        self._fill(fill_mode, fill_value)

    def matrices(self, N: int, size: Size, rng: np.random.Generator) -> np.ndarray:
        degrees = rng.uniform(*self.degrees, N)
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        quarter = degrees % 90 == 0  # where both are -1, 0 or 1, but π is rounded
        cos, sin = (np.where(quarter, np.rint(v), v) for v in (cos, sin))
        return _about_centre(np.array([[cos, sin], [-sin, cos]]).transpose(2, 0, 1), size)


class RandomShift(Geometric):
    """Each image moved down and right by parts of its height and width, drawn uniformly and apart from each other.

    fraction  f for parts from -f to f, or (of the height, of the width); the pixels moved by need not be whole
    """

    def __init__(self, fraction: Any, fill_mode: str = "nearest", fill_value: float = 0.0) -> None:
        given = fraction if _is_pair(fraction) else (fraction, fraction)
        self.fraction = transform.pair("RandomShift", "fraction", given, "one or two numbers of at least 0", 0)
        self._fill(fill_mode, fill_value)

    def matrices(self, N: int, size: Size, rng: np.random.Generator) -> np.ndarray:
        A = _identities(N)
        A[:, :2, 2] = -rng.uniform(-1, 1, (N, 2)) * self.fraction * size
        return A


class RandomZoom(Geometric):
    """Each image made larger or smaller about its centre, height and width by the same factor, drawn uniformly.

    low, high  the factor's range, above 0; above 1 is larger
    """

    def __init__(self, low: float, high: float, fill_mode: str = "nearest", fill_value: float = 0.0) -> None:
        tiny = float(np.finfo(np.float32).tiny)
        self.low, self.high = transform.interval("RandomZoom", "(low, high)", (low, high), "0 < low <= high", tiny)
        self._fill(fill_mode, fill_value)

    def matrices(self, N: int, size: Size, rng: np.random.Generator) -> np.ndarray:
        return _about_centre(np.eye(2) / rng.uniform(self.low, self.high, (N, 1, 1)), size)


class RandomCrop(Geometric):
    """A part of each image, or of the image with a margin, at a place drawn uniformly: whole pixels, nothing blended.

    size     (OH, OW), or one number for both; without it the size of the image, which with a margin shifts it
    padding  the margin's width in pixels on each side; fill_mode and fill_value say what it shows

    At the call, ValueError where the images with their margin are smaller than size.
    """

    def __init__(
        self, size: Any = None, padding: int = 0, fill_mode: str = "constant", fill_value: float = 0.0
    ) -> None:
        self.size = None if size is None else _whole_pair("size", size)
        self.padding = _whole("padding", padding, 0)
        if size is None and not padding:
            raise ValueError("RandomCrop: size is None and padding 0, wanted at least one of them")
        self._fill(fill_mode, fill_value)

    def output_size(self, size: Size) -> Size:
        return self.size or size

    def matrices(self, N: int, size: Size, rng: np.random.Generator) -> np.ndarray:
        margin = 2 * self.padding
        room = [there + margin - wanted for there, wanted in zip(size, self.output_size(size), strict=True)]
        if min(room) < 0:
            raise ValueError(f"RandomCrop: images are {size} with a margin of {self.padding}, wanted {self.size}")
        A = _identities(N)
        A[:, :2, 2] = rng.integers(0, room, (N, 2), endpoint=True) - self.padding
        return A


def _identities(N: int) -> np.ndarray:
    return np.tile(np.eye(3), (N, 1, 1))


def _about_centre(L: np.ndarray, size: Size) -> np.ndarray:
    """A of L (N, 2, 2)."""
    centre = (np.array(size) - 1) / 2
    A = _identities(len(L))
    A[:, :2, :2], A[:, :2, 2] = L, centre - L @ centre  # (2)
    return A


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list, np.ndarray))


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"RandomCrop: {name} is {value!r}, wanted whole numbers of at least {least}")
    if value < least:
        raise ValueError(f"RandomCrop: {name} is {value!r}, wanted whole numbers of at least {least}")
    return int(value)


def _whole_pair(name: str, value: Any) -> Size:
    values = tuple(value) if _is_pair(value) else (value, value)
    if len(values) != 2:
        raise ValueError(f"RandomCrop: {name} is {value!r}, wanted one or two whole numbers")
    return _whole(name, values[0], 1), _whole(name, values[1], 1)
