"""The metrics against plain loops, values worked out by hand, and scipy.stats."""

import math

import numpy as np
import pytest
from scipy import stats

from minicnn import metrics

Y = [0, 0, 0, 1, 1, 2]
P = [0, 1, 0, 1, 1, 0]  # class 2 is never right, class 3 never occurs
SCORES = np.eye(4)[P] * 0.5 + 0.125  # the same predictions, as probabilities


def sample(seed, n=200, K=7):
    rng = np.random.default_rng(seed)
    y = rng.integers(K, size=n)
    logits = rng.standard_normal((n, K)) + 1.5 * np.eye(K)[y]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, probabilities


@pytest.mark.parametrize("p", [P, SCORES, SCORES.astype(np.float32)], ids=["labels", "scores", "float32"])
def test_by_hand(p):
    assert metrics.accuracy(Y, p) == 4 / 6
    counts = metrics.confusion_matrix(Y, p, 4)
    np.testing.assert_array_equal(counts, [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(metrics.per_class_accuracy(Y, p, 4), [2 / 3, 1, 0, 0])
    f1 = [4 / 6, 4 / 5, 0]  # 2 TP / (2 TP + FP + FN)
    assert metrics.f1_macro(Y, p) == pytest.approx(sum(f1) / 3, rel=1e-15)
    assert metrics.f1_macro(Y, p, 4) == pytest.approx(sum(f1) / 4, rel=1e-15)


def test_the_number_of_classes_is_that_of_the_columns_else_the_largest_label():
    assert metrics.confusion_matrix(Y, SCORES).shape == (4, 4)
    assert metrics.confusion_matrix(Y, P).shape == (3, 3)
    assert metrics.per_class_accuracy([0], [2]).shape == (3,)


def test_the_first_of_equal_scores_is_the_prediction():
    assert metrics.accuracy([1, 2], [[0.2, 0.4, 0.4], [0.2, 0.4, 0.4]]) == 0.5


def test_normalised_rows():
    got = metrics.normalize_rows(np.array([[1, 3], [0, 0]]))
    np.testing.assert_array_equal(got, [[0.25, 0.75], [0, 0]])
    assert got.dtype == np.float64


@pytest.mark.parametrize("seed", range(3))
def test_counts_against_loops(seed):
    y, probabilities = sample(seed)
    K, p = 7, [max(range(7), key=row.__getitem__) for row in probabilities.tolist()]
    pairs = list(zip(y.tolist(), p, strict=True))
    want = [[sum(pair == (i, j) for pair in pairs) for j in range(K)] for i in range(K)]
    np.testing.assert_array_equal(metrics.confusion_matrix(y, probabilities, K), want)
    f1 = []
    for k in range(K):
        precision = want[k][k] / sum(want[i][k] for i in range(K))
        recall = want[k][k] / sum(want[k])
        f1.append(2 * precision * recall / (precision + recall))
    assert metrics.f1_macro(y, np.array(p, np.uint8)) == pytest.approx(sum(f1) / K, rel=1e-12)


def test_the_calibration_error_by_hand():
    probabilities = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]  # bins of 2: all four in (0.5, 1]
    assert metrics.expected_calibration_error([0, 0, 1, 0], probabilities, bins=2) == pytest.approx(0.0, abs=1e-15)
    # bins of 4: (0.75, 1] holds two right ones at 0.85; (0.5, 0.75] one right of two at 0.65
    want = 0.5 * abs(1 - 0.85) + 0.5 * abs(0.5 - 0.65)
    assert metrics.expected_calibration_error([0, 0, 1, 0], probabilities, bins=4) == pytest.approx(want, rel=1e-12)
    assert metrics.expected_calibration_error([1, 0], [[0.5, 0.5], [0.75, 0.25]], bins=2) == 0.375  # (0, 0.5] has 0.5
    assert metrics.expected_calibration_error([1], [[1.0, 0.0]]) == 1.0


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_against_loops(seed, bins):
    y, probabilities = sample(seed)
    want = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, row in enumerate(probabilities) if (m - 1) / bins < row.max() <= m / bins]
        if inside:
            right = sum(probabilities[i].argmax() == y[i] for i in inside) / len(inside)
            sure = sum(probabilities[i].max() for i in inside) / len(inside)
            want += len(inside) / len(y) * abs(right - sure)
    assert want > 0.01
    assert metrics.expected_calibration_error(y, probabilities, bins) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("correct", "n"), [(0, 3), (1, 1), (0, 20), (2, 2), (7, 10), (2400, 3589)])
def test_the_interval_is_scipys(correct, n, confidence):
    want = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    low, high = metrics.wilson_interval(correct, n, confidence)
    assert (low, high) == pytest.approx((want.low, want.high), rel=1e-12, abs=1e-15)
    assert 0 <= low <= correct / n <= high <= 1
    assert (low == 0) == (correct == 0)
    assert (high == 1) == (correct == n)


def models(b, c, both=50):
    """Labels, and two models of which only the first is right b times and only the second c times."""
    y = np.zeros(both + b + c, int)
    p_a, p_b = y.copy(), y.copy()
    p_a[both + b :] = 1
    p_b[both : both + b] = 1
    return y, p_a, p_b


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (3, 12), (12, 12), (0, 24), (9, 15)])
def test_few_disagreements_are_tested_exactly(b, c):
    got = metrics.mcnemar(*models(b, c))
    want = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert got == (b, c, min(b, c), pytest.approx(want, rel=1e-12))


@pytest.mark.parametrize(("b", "c"), [(5, 20), (25, 0), (40, 41), (60, 30)])
def test_many_disagreements_are_tested_by_chi_square(b, c):
    got = metrics.mcnemar(*models(b, c))
    statistic = (abs(b - c) - 1) ** 2 / (b + c)
    p_value = 2 * stats.norm.sf(math.sqrt(statistic))
    assert got == (b, c, pytest.approx(statistic, rel=1e-12), pytest.approx(p_value, rel=1e-9))
    assert (got.b, got.c) == (b, c)


def test_equally_good_models_do_not_differ():
    assert metrics.mcnemar(*models(30, 30)) == (30, 30, 0.0, 1.0)


def test_models_may_give_scores():
    y, p_a, p_b = models(3, 12)
    assert metrics.mcnemar(y, np.eye(2)[p_a], p_b) == metrics.mcnemar(y, p_a, p_b)


PAIRS = [metrics.accuracy, metrics.confusion_matrix, metrics.per_class_accuracy, metrics.f1_macro]


@pytest.mark.parametrize("metric", [*PAIRS, lambda y, p: metrics.mcnemar(y, p, p)])
@pytest.mark.parametrize(
    ("y", "p", "error", "message"),
    [
        ([], [], ValueError, r"y has 0 samples and p has shape \(0,\); wanted as many, 1 or more"),
        ([0, 1], [0], ValueError, r"y has 2 samples and p has shape \(1,\); wanted as many"),
        ([0], np.zeros((1, 0)), ValueError, r"y has 1 samples and p has shape \(1, 0\); wanted as many"),
        ([[0]], [0], ValueError, r"y has shape \(1, 1\) and p \(1,\); wanted \(N,\) and \(N,\) or \(N, K\)"),
        ([0], [[[0]]], ValueError, r"y has shape \(1,\) and p \(1, 1, 1\); wanted"),
        ([0.0], [0], TypeError, r"y is float64; wanted integer labels"),
        ([0], [0.5], TypeError, r"p is float64; wanted integer labels"),
        ([-1, 0], [0, 0], ValueError, r"y has labels from -1 to 0; wanted 0 to 0"),
        ([1, 3], [[0.1, 0.9], [0.2, 0.8]], ValueError, r"y has labels from 1 to 3; wanted 0 to 1"),
        ([0, 1], [[0.1, 0.9], [np.nan, 0.8]], ValueError, r"p has scores that are NaN in 1 rows"),
    ],
)
def test_bad_labels_and_predictions(metric, y, p, error, message):
    with pytest.raises(error, match=message):
        metric(y, p)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: metrics.confusion_matrix(Y, P, 2),
            ValueError,
            r"matrix: y has labels from 0 to 2; wanted 0 to 1",
        ),
        (lambda: metrics.confusion_matrix([0], [3], 2), ValueError, r"p has labels from 3 to 3; wanted 0 to 1"),
        (lambda: metrics.confusion_matrix(Y, SCORES, 5), ValueError, r"p has 4 columns; wanted num_classes = 5"),
        (lambda: metrics.confusion_matrix(Y, P, 0), ValueError, r"num_classes is 0; wanted an integer, 1 or more"),
        (lambda: metrics.f1_macro(Y, P, 7.0), TypeError, r"num_classes is 7.0; wanted an integer, 1 or more"),
        (lambda: metrics.normalize_rows([1, 2]), ValueError, r"normalize_rows: got shape \(2,\); wanted a matrix of"),
        (lambda: metrics.normalize_rows([[1, -2]]), ValueError, r"normalize_rows: got shape \(1, 2\); .* none below 0"),
        (
            lambda: metrics.expected_calibration_error(Y, P),
            ValueError,
            r"expected_calibration_error: probabilities has shape \(6,\); wanted \(N, K\)",
        ),
        (
            lambda: metrics.expected_calibration_error([0], [[3.0, -2.0]]),
            ValueError,
            r"expected_calibration_error: wanted probabilities, .* logits need a softmax first",
        ),
        (lambda: metrics.expected_calibration_error([0], [[0.3, 0.4]]), ValueError, r"whose rows sum to 1; logits"),
        (
            lambda: metrics.expected_calibration_error([0], [[1.0]], 0),
            ValueError,
            r"error: bins is 0; wanted an integer",
        ),
        (lambda: metrics.wilson_interval(0, 0), ValueError, r"wilson_interval: n is 0; wanted an integer, 1 or more"),
        (
            lambda: metrics.wilson_interval(-1, 5),
            ValueError,
            r"correct is -1; wanted an integer, 0 or more",
        ),
        (
            lambda: metrics.wilson_interval(6, 5),
            ValueError,
            r"correct is 6; wanted at most n, which is 5",
        ),
        (lambda: metrics.wilson_interval(0.7, 5), TypeError, r"wilson_interval: correct is 0.7; wanted an integer"),
        (lambda: metrics.wilson_interval(3, 5, 95), ValueError, r"confidence is 95; wanted a number in \(0, 1\)"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
