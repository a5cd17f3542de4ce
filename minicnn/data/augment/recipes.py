"""Augmentations by name, as `minicnn train --augment` offers them."""

from minicnn.data.augment.compose import Compose
from minicnn.data.augment.erasing import RandomErasing
from minicnn.data.augment.geometric import RandomHorizontalFlip, RandomRotation, RandomShift, RandomZoom
from minicnn.data.augment.mixup import Mixup


def course(fill_mode: str = "nearest") -> Compose:
    """Turned by up to 40 degrees, shifted by up to 0.2 of height and width, edges repeated: one resampling.

    The recipe of the course's reports, there by Keras's ImageDataGenerator(rotation_range=40, width_shift_range=0.2,
    height_shift_range=0.2).
    """
    return Compose(RandomRotation(40, fill_mode), RandomShift(0.2, fill_mode))


def strong(mixup: float = 0.0, num_classes: int | None = None) -> Compose:
    """Mirrored, turned by up to 10 degrees, shifted by up to 0.1, scaled by 0.8 to 1.2, then perhaps erased in part.

    Turns, scales and erasing in half of the images are those of Khaireddin & Chen 2021, arXiv:2105.03588, who shift by
    up to 0.2.  A mixup above 0 is the alpha of `Mixup`, which num_classes goes to as well.
    """
    moved = RandomHorizontalFlip(), RandomRotation(10), RandomShift(0.1), RandomZoom(0.8, 1.2)
    return Compose(*moved, RandomErasing(), *([Mixup(mixup, num_classes)] if mixup else []))
