"""What is made of measured times: medians, ratios round by round, geometric means, exponents of growth."""

import math
import statistics
from collections.abc import Sequence


def summary(rounds: Sequence[float]) -> dict[str, float]:
    """Median and minimum of the rounds' times, in seconds."""
    return {"median": statistics.median(rounds), "minimum": min(rounds)}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours[r] / theirs[r]: what disturbs a whole round disturbs both and cancels."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def geometric_mean(values: Sequence[float]) -> float:
    """(Π v)^(1/n): the mean under which a ratio and its inverse weigh the same.  ValueError for none."""
    if not values:
        raise ValueError("geometric_mean: there are no values")
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The p of costs ~ sizes^p, by least squares on the logarithms.  ValueError for fewer than two different sizes."""
    if len(set(sizes)) < 2:
        raise ValueError(f"exponent: wanted at least two different sizes, got {list(sizes)}")
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    return statistics.linear_regression(x, y).slope
