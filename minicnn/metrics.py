"""How good predictions are, and how sure one may be of it.

Everywhere y are the true labels, integers (N,) from 0, and p the predictions: labels (N,), or scores or probabilities
(N, K), of which the largest is the prediction (the first of equals).  K classes are `num_classes`; where it may be left
out it is taken from the scores' columns, else from the largest label that occurs.  All raise ValueError for empty
input, lengths that differ, labels out of range and scores that are NaN, and TypeError for labels that are no integers.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


def accuracy(y: ArrayLike, p: ArrayLike) -> float:
    """The share of predictions that are right, in [0, 1]."""
    labels, predicted, _ = _pair("accuracy", y, p)
    return float(np.mean(labels == predicted))


def confusion_matrix(y: ArrayLike, p: ArrayLike, num_classes: int | None = None) -> np.ndarray:
    """int64 (K, K): row i, column j counts the samples of class i that were predicted as j."""
    labels, predicted, K = _pair("confusion_matrix", y, p, num_classes)
    return np.bincount(labels * K + predicted, minlength=K * K).reshape(K, K)


def normalize_rows(matrix: ArrayLike) -> np.ndarray:
    """float64 (K, L): every row divided by its sum; a row without samples stays 0.  ValueError unless 2-D and >= 0."""
    counts = np.asarray(matrix, dtype=np.float64)
    if counts.ndim != 2 or not (counts >= 0).all():
        raise ValueError(f"normalize_rows: got shape {counts.shape}; wanted a matrix of counts, none below 0")
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def per_class_accuracy(y: ArrayLike, p: ArrayLike, num_classes: int | None = None) -> np.ndarray:
    """float64 (K,): of the samples of each class, the share predicted right (its recall); 0 for a class without any."""
    return normalize_rows(confusion_matrix(y, p, num_classes)).diagonal().copy()


def f1_macro(y: ArrayLike, p: ArrayLike, num_classes: int | None = None) -> float:
    """The mean over classes of F₁ = 2 TP / (2 TP + FP + FN), in [0, 1].

    As scikit-learn's f1_score(average="macro", zero_division=0): without num_classes the mean is over the classes that
    occur in y or in the predictions; with it over all K, where one that never occurs counts 0 (labels=range(K)).  Not
    the F₁ of the mean precision and recall, which differs (Opitz & Burst 2019, arXiv:1911.03347).
    """
    counts = confusion_matrix(y, p, num_classes)
    both = counts.sum(axis=0) + counts.sum(axis=1)  # 2 TP + FP + FN
    f1 = np.divide(2.0 * counts.diagonal(), both, out=np.zeros(len(both)), where=both > 0)
    return float(np.mean(f1[both > 0] if num_classes is None else f1))


def expected_calibration_error(y: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """How far confidence is from accuracy, in [0, 1]: Guo et al. 2017, arXiv:1706.04599, equation (3).

    A sample's confidence is its largest probability.  Samples are put into M = bins intervals ((m−1)/M, m/M] of it, and

        ECE = Σₘ |Bₘ|/N · |acc(Bₘ) − conf(Bₘ)|

    with acc the share predicted right and conf the mean confidence of bin Bₘ.  probabilities is (N, K); ValueError
    where one is below 0 or a row does not sum to 1 (within 1e-3), as logits would not.
    """
    where = "expected_calibration_error"
    _at_least(where, "bins", bins, 1)
    scores = np.asarray(probabilities)
    if scores.ndim != 2:
        raise ValueError(f"{where}: probabilities has shape {scores.shape}; wanted (N, K)")
    labels, predicted, _ = _pair(where, y, scores)
    scores = scores.astype(np.float64)
    if scores.min() < -1e-6 or np.abs(scores.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(f"{where}: wanted probabilities, at least 0, whose rows sum to 1; logits need a softmax first")
    confidence = scores.max(axis=1)
    edges = np.arange(1, bins) / bins
    bin_of = np.searchsorted(edges, confidence, side="left")
    gap = np.bincount(bin_of, weights=(labels == predicted) - confidence, minlength=bins)  # |B| (acc − conf)
    return float(np.abs(gap).sum() / len(labels))


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) of the score interval for a proportion: Wilson 1927, JASA 22, 209-212.

    With q = correct/n and z the normal quantile of (1 + confidence)/2,

        (q + z²/2n ± z √(q (1 − q)/n + z²/4n²)) / (1 + z²/n)

    within [0, 1], and useful for small n and for q near 0 or 1.  ValueError unless 0 <= correct <= n, n >= 1 and
    0 < confidence < 1.
    """
    _at_least("wilson_interval", "n", n, 1)
    _at_least("wilson_interval", "correct", correct, 0)
    if correct > n:
        raise ValueError(f"wilson_interval: correct is {correct}; wanted at most n, which is {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"wilson_interval: confidence is {confidence}; wanted a number in (0, 1)")
    from scipy import special  # here, for it takes longer to import than all of minicnn

    q, z = correct / n, float(special.ndtri((1 + confidence) / 2))
    centre, spread = q + z * z / (2 * n), z * math.sqrt(q * (1 - q) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if correct == 0 else (centre - spread) / scale  # the ends, where rounding would miss them
    return low, 1.0 if correct == n else (centre + spread) / scale


class McNemar(NamedTuple):
    """b samples only the first model has right, c only the second; the test's statistic and its two-sided p-value."""

    b: int
    c: int
    statistic: float
    p_value: float


def mcnemar(y: ArrayLike, p_a: ArrayLike, p_b: ArrayLike) -> McNemar:
    """Whether two models' accuracies on the same samples differ: McNemar 1947, Psychometrika 12, 153-157.

    Only the b + c samples on which exactly one is right count.  If the models are equally good, b is binomial with
    probability ½.  For b + c < 25 that is the test, exactly: statistic min(b, c), p = min(1, 2 P(X ≤ min(b, c))).
    Else it is χ² with one degree of freedom and statistic max(|b − c| − 1, 0)²/(b + c), corrected for continuity as in
    Edwards 1948, Psychometrika 13, 185-187.
    """
    labels, first, _ = _pair("mcnemar", y, p_a)
    _, second, _ = _pair("mcnemar", y, p_b)
    b = int(np.sum((first == labels) & (second != labels)))
    c = int(np.sum((first != labels) & (second == labels)))
    from scipy import special  # as above

    if b + c < 25:
        return McNemar(b, c, float(min(b, c)), min(1.0, 2 * float(special.bdtr(min(b, c), b + c, 0.5))))
    statistic = max(abs(b - c) - 1, 0) ** 2 / (b + c)
    return McNemar(b, c, statistic, float(special.chdtrc(1, statistic)))


def _pair(where: str, y: ArrayLike, p: ArrayLike, num_classes: int | None = None) -> tuple[np.ndarray, np.ndarray, int]:
    """(labels, predicted labels, K), checked."""
    y, p = np.asarray(y), np.asarray(p)
    if y.ndim != 1 or p.ndim not in (1, 2):
        raise ValueError(f"{where}: y has shape {y.shape} and p {p.shape}; wanted (N,) and (N,) or (N, K)")
    if len(y) == 0 or p.size == 0 or len(y) != len(p):
        raise ValueError(f"{where}: y has {len(y)} samples and p has shape {p.shape}; wanted as many, 1 or more")
    columns = p.shape[1] if p.ndim == 2 else None
    if num_classes is not None:
        _at_least(where, "num_classes", num_classes, 1)
        if columns is not None and columns != num_classes:
            raise ValueError(f"{where}: p has {columns} columns; wanted num_classes = {num_classes}")
    labels, K = _integers(where, "y", y), num_classes or columns
    predicted = _largest(where, p) if columns is not None else _integers(where, "p", p)
    K = K or int(max(labels.max(), predicted.max())) + 1
    for name, values in (("y", labels), ("p", predicted)):
        low, high = values.min(), values.max()
        if low < 0 or high >= K:
            raise ValueError(f"{where}: {name} has labels from {low} to {high}; wanted 0 to {K - 1}")
    return labels, predicted, K


def _integers(where: str, name: str, values: np.ndarray) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{where}: {name} is {values.dtype}; wanted integer labels")
    return values.astype(np.int64)


def _largest(where: str, scores: np.ndarray) -> np.ndarray:
    if np.isnan(scores).any():
        raise ValueError(f"{where}: p has scores that are NaN in {int(np.isnan(scores).any(axis=1).sum())} rows")
    return scores.argmax(axis=1)


def _at_least(where: str, name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{where}: {name} is {value!r}; wanted an integer, {least} or more")
    if value < least:
        raise ValueError(f"{where}: {name} is {value!r}; wanted an integer, {least} or more")
