"""Self-training: a model labels images itself and learns from those it is sure of.

Scudder 1965 (IEEE Trans. Inf. Theory 11, 363-371); for networks, with the largest probability as the measure, Lee 2013
("Pseudo-Label", ICML workshop).  In every round

    S = {u : maxₖ p(k | u) > threshold},    yᵤ = argmaxₖ p(k | u)                                   (1)

is chosen anew from all images without labels, so that an image may leave again, and the next model is trained on the
labelled images and S.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from minicnn.data import Dataset
from minicnn.data.dataset import UNLABELLED

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Round:
    """One model of a self-training.

    number   0 is the model of the labelled images alone
    images   how many images it was trained on
    added    how many of them it was given labels for by the model before
    right    the share of those labels that is right; NaN where nothing was added or the truth is not known
    predict  images -> probabilities, of this model
    """

    number: int
    images: int
    added: int
    right: float
    predict: Predict


def hide_labels(dataset: Dataset, share: float = 0.5, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(labelled, hidden): this share of the images, drawn by seed, goes into the second.

    It keeps its labels, by which `rounds` only measures how many of its own were right.  ValueError for a share outside
    (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"hide_labels: share is {share}, wanted a number in (0, 1)")
    order = np.random.default_rng(seed).permutation(len(dataset))
    hidden = round(share * len(dataset))
    return dataset.subset(np.sort(order[hidden:])), dataset.subset(np.sort(order[:hidden]))


def pseudo_labels(probabilities: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(which rows of probabilities (N, K) are sure, their classes), int64 and equally long: equation (1).

    ValueError for a threshold outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"pseudo_labels: threshold is {threshold}, wanted a number in [0, 1]")
    sure = np.flatnonzero(probabilities.max(axis=1) > threshold)  # (1)
    return sure, probabilities[sure].argmax(axis=1).astype(np.int64)


def rounds(
    fit: Callable[[Dataset], Predict], labelled: Dataset, unlabelled: Dataset, *, count: int, threshold: float = 0.45
) -> Iterator[Round]:
    """Round 0, which is `fit(labelled)`, and then `count` more, each on what the one before was sure of.

    fit trains on a Dataset and returns what predicts; whether it starts from fresh weights or goes on is its affair.
    Labels of `unlabelled` are never trained on.
    """
    train, added, right = labelled, 0, float("nan")
    for number in range(count + 1):
        predict = fit(train)
        yield Round(number, len(train), added, right, predict)
        if number == count:
            return
        sure, labels = pseudo_labels(predict(unlabelled.images), threshold)
        chosen = unlabelled.subset(sure)
        known = chosen.labels != UNLABELLED
        right = float((labels == chosen.labels)[known].mean()) if known.any() else float("nan")
        train, added = _together(labelled, replace(chosen, labels=labels)), len(chosen)


def _together(a: Dataset, b: Dataset) -> Dataset:
    images, labels, usage = (
        np.concatenate([getattr(a, name), getattr(b, name)]) for name in ("images", "labels", "usage")
    )
    return replace(a, images=images, labels=labels, usage=usage)
