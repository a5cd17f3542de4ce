"""Test-time augmentation: ask a model about several views of each image and average what it says.

    p(x) = 1/V Σᵥ p(Tᵥ x)

over V fixed views Tᵥ that leave the label as it is.  It costs V predictions and no training.  Averaged are
probabilities, as by Krizhevsky, Sutskever & Hinton 2012 (NIPS 25), section 4.1, whose ten views "ten-crop" follows.
"""

from collections.abc import Callable, Iterator

import numpy as np

WAYS = ("none", "flip", "ten-crop")


def views(images: np.ndarray, how: str) -> Iterator[np.ndarray]:
    """Each view of images (N, H, W, C) in turn, as large as they are.

    none      the images
    flip      the images and their mirror images
    ten-crop  the four corners and the centre, and their mirror images, of the images with a border of a twelfth of
              their height and width (4 of 48 pixels), which repeats their outermost pixels; so a face may stand
              a little beside the middle, while the model gets images of the size it was trained on

    ValueError for another way, or other shapes.
    """
    if how not in WAYS:
        raise ValueError(f"test-time augmentation {how!r}, wanted one of {', '.join(WAYS)}")
    if images.ndim != 4:
        raise ValueError(f"test-time augmentation: images have shape {images.shape}, wanted (N, H, W, C)")
    _, H, W, _ = images.shape
    h, w = H // 12, W // 12
    for top, left in [(h, w), (0, 0), (0, 2 * w), (2 * h, 0), (2 * h, 2 * w)] if how == "ten-crop" else [(h, w)]:
        # the border and the crop at once: the pixels that a window from (top - h, left - w) on sees
        rows = np.clip(np.arange(H) + top - h, 0, H - 1)
        columns = np.clip(np.arange(W) + left - w, 0, W - 1)
        seen = images if (top, left) == (h, w) else images[:, rows[:, None], columns]
        yield seen
        if how != "none":
            yield seen[:, :, ::-1]


def averaged(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, how: str = "flip") -> np.ndarray:
    """The mean over the views of predict(view), which are probabilities (N, K): `averaged(trainer.predict, x)`.

    ValueError for another way than `views` knows.
    """
    said = [predict(view) for view in views(images, how)]
    return np.mean(said, axis=0, dtype=np.float64).astype(said[0].dtype)
