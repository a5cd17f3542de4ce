"""Is this data fit to measure anything on?  Copies, contradictions, blank images, and splits processed differently.

FER2013 holds exact copies across its splits, so that a network is partly tested on what it learned by heart; and many
of the copies in circulation were blurred, equalised or enlarged in one half, which costs a network trained on the other
half most of its accuracy.  Three measures of an image x, averaged over a split, show the latter:

    mean       m = 1/n Σ x
    contrast   c = sqrt(1/n Σ (x - m)²)
    sharpness  s = mean |∇²x| / mean |∂x|

with ∇²x the five-point Laplacian and ∂x the differences of neighbours along both axes.  s is a ratio of two lengths
of the same unit, so brightness and contrast leave it alone: it is sqrt(10) for white noise (Gaussian: ∇²x has variance
20 σ², ∂x has 2 σ²), 2.1 for FER2013, and nearly halved by a 3x3 box or by enlarging; an image enlarged by repeating
pixels comes out near 3.3.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from minicnn.data.dataset import UNLABELLED, Dataset

CHUNK = 1024  # images measured at once
STANDARD_ERRORS = 5.0  # a difference within the noise of small splits is none,
FEWEST = 20  # and of two splits with fewer images together nothing is said
# (measure, relative difference that is too much, what raises it, what lowers it).  Faces of different expression differ
# by up to 20 % in mean, 6 % in contrast and 4 % in sharpness, Training from PublicTest by less than 1 % in all three.
MEASURES = (
    ("mean", 0.25, "brightened", "darkened"),
    ("contrast", 0.08, "equalised or stretched", "faded"),
    ("sharpness", 0.06, "sharpened or enlarged by repeating pixels", "blurred or upscaled"),
)


@dataclass(frozen=True)
class SplitStatistics:
    """The three measures of a split, in grey levels but for sharpness, and their standard deviations over images."""

    images: int
    mean: float
    contrast: float
    sharpness: float
    deviations: tuple[float, ...]


@dataclass(frozen=True)
class AuditReport:
    """What `audit` found.  A group is two or more images with equal pixels.

    splits                the measures of each split
    duplicate_images      images in groups
    duplicate_groups      groups
    groups_across_splits  groups with images in more than one split
    conflicting_groups    groups whose images have different labels (unlabelled ones aside)
    in_training           for each other split, how many of its images stand in Training too
    blank_images          images of a single grey level
    differences           a sentence for each sign that splits were processed differently; empty where there is none
    """

    splits: dict[str, SplitStatistics]
    duplicate_images: int
    duplicate_groups: int
    groups_across_splits: int
    conflicting_groups: int
    in_training: dict[str, int]
    blank_images: int
    differences: tuple[str, ...]

    @property
    def processed_differently(self) -> bool:
        """Whether one split looks blurred, stretched or enlarged beside another."""
        return bool(self.differences)

    @property
    def summary(self) -> str:
        """One line for a training log."""
        leaks = "".join(f", {count} of {split} in Training" for split, count in self.in_training.items())
        return (
            f"audit: {self.duplicate_images} of {sum(split.images for split in self.splits.values())} images in "
            f"{self.duplicate_groups} groups of exact copies ({self.groups_across_splits} across splits{leaks}), "
            f"{self.conflicting_groups} groups with different labels, {self.blank_images} blank; "
            + ("; ".join(self.differences) or "splits processed alike")
        )

    def __str__(self) -> str:
        lines = [
            f"{self.duplicate_images} images are exact copies of one another, in {self.duplicate_groups} groups",
            f"    {self.groups_across_splits} groups reach across splits",
            f"    {self.conflicting_groups} groups have different labels",
            *(f"    {count} images of {split} stand in Training too" for split, count in self.in_training.items()),
            f"{self.blank_images} images are blank",
            f"{'split':<12}{'images':>8}{'mean':>9}{'contrast':>10}{'sharpness':>11}",
            *(
                f"{name:<12}{split.images:>8}{split.mean:>9.1f}{split.contrast:>10.1f}{split.sharpness:>11.3f}"
                for name, split in self.splits.items()
            ),
            *(self.differences or ("The splits look processed alike.",)),
        ]
        return "\n".join(lines)


def audit(dataset: Dataset) -> AuditReport:
    """Look for exact copies, contradicting labels, blank images and splits that were processed differently.

    Copies are found by a cryptographic hash of the pixels.  ValueError where images are smaller than 3 x 3, which
    leaves no Laplacian.
    """
    if min(dataset.images.shape[1:3]) < 3:
        raise ValueError(f"audit: images have shape {dataset.images.shape[1:]}, wanted at least 3 x 3 pixels")
    group = _groups(dataset.images)
    size = np.bincount(group)
    usage = {name: dataset.usage == name for name in dataset.split_counts()}
    in_split = {name: np.bincount(group[here], minlength=len(size)) for name, here in usage.items()}
    labelled = dataset.labels != UNLABELLED
    verdicts = np.unique(np.stack([group[labelled], dataset.labels[labelled]]), axis=1)[0]
    splits = {name: _measure(dataset.images[here]) for name, here in usage.items()}
    training = in_split.get("Training", np.zeros_like(size))
    return AuditReport(
        splits=splits,
        duplicate_images=int(size[size > 1].sum()),
        duplicate_groups=int((size > 1).sum()),
        groups_across_splits=int((np.sum([count > 0 for count in in_split.values()], axis=0) > 1).sum()),
        conflicting_groups=int((np.bincount(verdicts, minlength=1) > 1).sum()),
        in_training={
            name: int(count[training > 0].sum())
            for name, count in in_split.items()
            if "Training" in usage and name != "Training"
        },
        blank_images=int((dataset.images.min(axis=(1, 2, 3)) == dataset.images.max(axis=(1, 2, 3))).sum()),
        differences=_differences(splits),
    )


def drop_duplicates(dataset: Dataset) -> Dataset:
    """Without the Training images that are exact copies of an image of another split; a note says how many went."""
    group, training = _groups(dataset.images), dataset.usage == "Training"
    copies = training & np.isin(group, group[~training])
    note = f"{copies.sum()} Training images left out that are exact copies of images of other splits"
    return replace(dataset.subset(~copies), notes=(*dataset.notes, note))


def _groups(images: np.ndarray) -> np.ndarray:
    """(N,) int64: equal numbers for equal images."""
    numbers: dict[bytes, int] = {}
    digests = (hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images)
    return np.fromiter((numbers.setdefault(digest, len(numbers)) for digest in digests), np.int64, len(images))


def _measure(images: np.ndarray) -> SplitStatistics:
    parts = [_measure_each(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]
    each = np.concatenate(parts, axis=1)
    known = [measure[~np.isnan(measure)] for measure in each]
    mean, contrast, sharpness = (float(measure.mean()) if len(measure) else float("nan") for measure in known)
    deviations = tuple(float(measure.std()) if len(measure) else float("nan") for measure in known)
    return SplitStatistics(len(images), mean, contrast, sharpness, deviations)


def _measure_each(images: np.ndarray) -> np.ndarray:
    """float64 (3, N): mean, contrast and sharpness of each image; sharpness is NaN for a blank one."""
    x = images.astype(np.int16)
    axes = (1, 2, 3)
    laplacian = 4 * x[:, 1:-1, 1:-1] - x[:, :-2, 1:-1] - x[:, 2:, 1:-1] - x[:, 1:-1, :-2] - x[:, 1:-1, 2:]
    slope = (np.abs(np.diff(x, axis=1)).mean(axes) + np.abs(np.diff(x, axis=2)).mean(axes)) / 2
    slope[slope == 0] = np.nan
    return np.stack([x.mean(axes), x.std(axes), np.abs(laplacian).mean(axes) / slope])


def _differences(splits: dict[str, SplitStatistics]) -> tuple[str, ...]:
    """A sentence for each measure in which a split differs too much from the largest one.

    The noise of a difference is its standard error by the pooled variance of both splits, as in Student's t test.
    """
    reference = max(splits, key=lambda name: splits[name].images, default="")
    found = []
    for name, split in splits.items():
        largest = splits[reference]
        n, m = split.images, largest.images
        if n + m < FEWEST or name == reference:
            continue
        for index, (measure, limit, raised, lowered) in enumerate(MEASURES):
            here, there = getattr(split, measure), getattr(largest, measure)
            variance = (n * split.deviations[index] ** 2 + m * largest.deviations[index] ** 2) / (n + m - 2)
            noise = (variance * (1 / n + 1 / m)) ** 0.5
            if abs(here - there) > max(limit * there, STANDARD_ERRORS * noise):
                this, that = (raised, lowered) if here > there else (lowered, raised)
                found.append(
                    f"{name} was not processed like {reference}: {measure} {here:.3g} against {there:.3g}, "
                    f"as if {name} had been {this}, or {reference} {that}"
                )
    return tuple(found)
