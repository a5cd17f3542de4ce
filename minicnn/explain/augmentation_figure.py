"""Augmented images in rows, a transform in each."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.explain.canvas import DPI, MEDIUM, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP = 2  # pixels of an image
MAGNIFIED = 96  # dots that an image is wide, at least about: whole multiples of pixels stay sharp


def augmentation(
    images: np.ndarray, transforms: Mapping[str, Callable[..., Any]], *, seed: int = 0, original: str = "as they are"
) -> "Figure":
    """A row of images as they are, and one for each transform of the same images.

    images      (N, H, W, C), C 1 or 3, uint8 or floats in [0, 1]
    transforms  name -> a transform of `data.augment`; called with the labels 0..N-1
    seed        of the Generator, a new one for each row: rows that draw alike show what else differs
    original    the name of the first row

    Smaller images that come out stand in the middle of their places.  ValueError for other shapes.
    """
    if images.ndim != 4 or 0 in images.shape or images.shape[3] not in (1, 3):
        raise ValueError(f"augmentation: images have shape {images.shape}, wanted (N, H, W, 1) or (N, H, W, 3)")
    labels = np.arange(len(images))
    rows = {original: images} | {
        name: t(images, labels, rng=np.random.default_rng(seed))[0] for name, t in transforms.items()
    }
    H, W = (max(row.shape[axis] for row in rows.values()) for axis in (1, 2))
    picture = np.concatenate([_row(row, H, W) for row in rows.values()])[GAP:, GAP:]
    zoom = max(1, round(MAGNIFIED / W))
    height, width = (zoom * length for length in picture.shape[:2])  # dots, whole ones, as what follows
    name = round(DPI * (0.075 * max(map(len, rows)) + 0.2))
    figure = blank(((name + width + 0.01) / DPI, (height + 0.01) / DPI))  # a little more, for they are rounded down
    figure.set_layout_engine("none")
    axis = figure.add_axes((name / (name + width), 0, width / (name + width), 1))
    axis.imshow(picture, interpolation="nearest", aspect="auto")
    axis.set_yticks([k * (H + GAP) + (H - 1) / 2 for k in range(len(rows))], rows, fontsize=MEDIUM, parse_math=False)
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


def _row(images: np.ndarray, H: int, W: int) -> np.ndarray:
    """Images side by side in places of (H, W), on white, a gap before each: (GAP + H, N (GAP + W), 3) from 0 to 1."""
    N, h, w, _ = images.shape
    scaled = images / 255 if images.dtype == np.uint8 else np.clip(images, 0, 1)
    row = np.ones((GAP + H, N, GAP + W, 3))
    top, left = GAP + (H - h) // 2, GAP + (W - w) // 2
    row[top : top + h, :, left : left + w] = scaled.transpose(1, 0, 2, 3)
    return row.reshape(GAP + H, -1, 3)
