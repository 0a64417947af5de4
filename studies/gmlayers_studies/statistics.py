"""The statistics of all studies: Welch's test and its interval, of values or of logarithms, and Mann and Whitney's."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
"""A difference counts as one where its p-value is below this level, and intervals are of one minus it."""

ROUNDING = 1e-9
"""Means that differ by less than this in standard errors do so by rounding, and there is no spread to judge by."""

LEAST = 1e-16
"""Smaller errors are rounding, and are compared as if they were this large."""


class Interval(NamedTuple):
    """A difference or a ratio of means, with its interval of 95 % and the p-value of Welch's test."""

    mean: float
    low: float
    high: float
    """An end is nan where there is no spread, or one value only."""
    p: float
    """The p-value is nan where the ends are."""


def welch(ones: np.ndarray, others: np.ndarray) -> Interval:
    r"""Return how much larger the mean of the ones is, by Welch's test.

    .. math:: t = \frac{\bar a - \bar b}{\sqrt{v_a + v_b}}, \qquad
        \nu = \frac{(v_a + v_b)^2}{v_a^2/(n_a - 1) + v_b^2/(n_b - 1)}, \qquad v = s^2/n

    (B. L. Welch, *The generalization of "Student's" problem when several different population variances are involved*,
    Biometrika 34, 1947.) One of the two may be without spread.

    Args:
        ones: (n,) finite values.
        others: (m,) finite values.
    """
    difference = float(ones.mean() - others.mean())
    unknown = Interval(difference, math.nan, math.nan, math.nan)
    if min(len(ones), len(others)) < 2:
        return unknown
    parts = np.array([values.var(ddof=1) / len(values) for values in (ones, others)])
    error = math.sqrt(parts.sum())
    if error < ROUNDING:
        return unknown
    freedom = float(parts.sum() ** 2 / (parts**2 / [len(ones) - 1, len(others) - 1]).sum())
    reach = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return Interval(difference, difference - reach, difference + reach, p)


def ratio(ones: np.ndarray, others: np.ndarray) -> Interval:
    """Return how many times the errors of the others are those of the ones, by Welch's test on logarithms.

    What cannot be known is nan: all where an error is infinite, the interval where there is no spread, or one seed.
    """
    logarithms = [np.log(np.maximum(errors, LEAST)) for errors in (others, ones)]
    if not np.isfinite(np.concatenate(logarithms)).all():
        return Interval(math.nan, math.nan, math.nan, math.nan)
    found = welch(*logarithms)
    with np.errstate(over="ignore"):  # with few and wild trials an interval has no end
        mean, low, high = (float(np.exp(end)) for end in found[:3])
        return Interval(mean, low, high, found.p)


def centre(errors: np.ndarray) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.log(np.maximum(errors, LEAST)).mean()))


def are_ordered(ones: np.ndarray, others: np.ndarray) -> bool:
    """Return whether one of the two tends to be smaller, by the test of Mann and Whitney; some may be infinite."""
    return bool(stats.mannwhitneyu(ones, others).pvalue < LEVEL)
