import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gmlayers_studies.statistics import LEAST, Interval, are_ordered, centre, ratio, welch

UNKNOWN = [math.nan] * 3

VALUES = st.lists(st.integers(-1000, 1000).map(float), min_size=2, max_size=8).map(np.array)
"""Values that differ by as much as they may without losing digits."""

ERRORS = st.lists(st.floats(1e-9, 1e3), min_size=2, max_size=8).map(np.array)


def oracle(ones, others):
    """Welch's test and its interval as SciPy has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of sides without spread
        test = stats.ttest_ind(ones, others, equal_var=False)
    return Interval(float(ones.mean() - others.mean()), *test.confidence_interval(0.95), test.pvalue)


def by_loops(ones, others):
    """The formula term by term, with the quantile and the tail of Student's law from SciPy."""
    means, parts, sizes = [], [], []
    for values in (ones, others):
        mean = sum(values) / len(values)
        means.append(mean)
        parts.append(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
        sizes.append(len(values))
    freedom = sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, sizes))
    t = (means[0] - means[1]) / math.sqrt(sum(parts))
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    difference = means[0] - means[1]
    return Interval(difference, difference - reach, difference + reach, 2 * (1 - stats.t.cdf(abs(t), freedom)))


@given(VALUES, VALUES)
def test_welch_is_that_of_scipy(ones, others):
    found = welch(ones, others)
    if np.ptp(ones) == np.ptp(others) == 0:
        assert found.mean == ones[0] - others[0]
        np.testing.assert_equal(found[1:], UNKNOWN)
        return
    assert found == pytest.approx(oracle(ones, others), rel=1e-9, abs=1e-9)
    assert found == pytest.approx(by_loops(ones.tolist(), others.tolist()), rel=1e-6, abs=1e-9)


@given(VALUES, VALUES)
def test_welch_is_antisymmetric(ones, others):
    found, back = welch(ones, others), welch(others, ones)
    assert back == pytest.approx((-found.mean, -found.high, -found.low, found.p), nan_ok=True)


@given(VALUES, VALUES, st.integers(-1000, 1000), st.randoms())
def test_welch_does_not_know_the_order_nor_where_zero_is(ones, others, shift, random):
    shuffled = ones.tolist()
    random.shuffle(shuffled)
    found, moved = welch(ones, others), welch(np.array(shuffled) + shift, others + shift)
    assert moved == pytest.approx(found, rel=1e-9, abs=1e-9, nan_ok=True)


@given(VALUES, VALUES, st.sampled_from([0.125, 4.0, 1024.0]))
def test_welch_keeps_to_units(ones, others, unit):
    found, scaled = welch(ones, others), welch(unit * ones, unit * others)
    expected = (unit * found.mean, unit * found.low, unit * found.high, found.p)
    assert scaled == pytest.approx(expected, rel=1e-9, nan_ok=True)


@given(VALUES, VALUES)
def test_the_interval_is_around_the_difference_and_excludes_zero_if_and_only_if_p_is_small(ones, others):
    mean, low, high, p = welch(ones, others)
    if not math.isnan(p):
        assert low < mean < high
        assert 0 <= p <= 1
        if abs(p - 0.05) > 1e-9:
            assert (p < 0.05) == (low > 0 or high < 0)


def test_one_of_the_two_may_be_without_spread():
    ones, others = np.array([1.0, 1.0, 1.0]), np.array([2.0, 3.0])
    assert welch(ones, others) == pytest.approx(oracle(ones, others))
    assert welch(ones, others) == pytest.approx((-1.5, -7.853, 4.853, 0.2048), abs=1e-3)  # t = 3, one degree of freedom


@pytest.mark.parametrize(
    ("ones", "others"),
    [
        ([1.0], [2.0, 3.0]),
        ([1.0, 2.0], [3.0]),
        ([1.0], [3.0]),
        ([1.0, 1.0], [2.0, 2.0]),
        ([0.1 + 0.2, 0.3], [0.7, 0.7]),  # by rounding
    ],
)
def test_with_one_value_or_no_spread_there_is_no_interval(ones, others):
    mean, *rest = welch(np.array(ones), np.array(others))
    assert mean == pytest.approx(np.mean(ones) - np.mean(others))
    np.testing.assert_equal(rest, UNKNOWN)


def test_ratios_of_errors_are_judged_by_their_logarithms():
    ones, others = np.array([1e-4, 2e-4, 4e-4]), np.array([1e-2, 2e-2, 4e-2])
    found = ratio(ones, others)
    assert found.mean == pytest.approx(100)
    assert 1 < found.low < 100 < found.high
    test = stats.ttest_ind(np.log(others), np.log(ones), equal_var=False)
    assert found.p == pytest.approx(test.pvalue)
    assert np.log([found.low, found.high]) == pytest.approx([*test.confidence_interval(0.95)])
    assert ratio(ones[:1].repeat(2), others).p < 0.05  # one has no spread
    back = ratio(others, ones)
    assert (back.mean, back.low, back.high) == pytest.approx((0.01, 1 / found.high, 1 / found.low))
    assert math.isnan(ratio(ones[:1], others).low)
    assert math.isnan(ratio(ones, np.array([1.0, math.inf])).low)
    assert math.isnan(ratio(ones[:1].repeat(2), others[:1].repeat(2)).low)  # no spread
    assert ratio(np.array([0, 1e-20, 2e-16]), others).mean > 1e13


@given(ERRORS, ERRORS, st.sampled_from([1e-3, 2.0, 1e3]))
def test_ratios_are_turned_over_with_their_sides_and_keep_to_no_unit(ones, others, unit):
    found, back, scaled = ratio(ones, others), ratio(others, ones), ratio(unit * ones, unit * others)
    with np.errstate(divide="ignore", over="ignore"):
        turned = Interval(*(1 / np.array([found.mean, found.high, found.low])), found.p)
    assert back == pytest.approx(turned, rel=1e-6, nan_ok=True)
    assert scaled == pytest.approx(found, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_of_errors_that_are_not_finite_no_ratio_is_known(bad):
    good, wild = np.array([1.0, 2.0, 3.0]), np.array([1.0, bad, 3.0])
    np.testing.assert_equal([*ratio(good, wild)], [math.nan, *UNKNOWN])
    np.testing.assert_equal([*ratio(wild, good)], [math.nan, *UNKNOWN])


def test_an_interval_of_wild_trials_has_no_end():
    mean, low, high, p = ratio(np.array([1e-16, 1.0]), np.array([1e-16, 1e200]))
    assert low == pytest.approx(0)
    assert high == math.inf
    assert mean == pytest.approx(1e100)
    assert 0.05 < p < 1


@given(ERRORS)
def test_centres_are_geometric_means(errors):
    assert centre(errors) == pytest.approx(stats.gmean(errors))
    assert errors.min() * (1 - 1e-9) <= centre(errors) <= errors.max() * (1 + 1e-9)
    assert centre(2 * errors) == pytest.approx(2 * centre(errors))


def test_centres_of_what_is_not_positive_or_not_finite():
    assert centre(np.array([0.0, 0.0])) == pytest.approx(LEAST)
    assert centre(np.array([1e-300, 1.0])) == pytest.approx(math.sqrt(LEAST))
    assert centre(np.array([1.0, math.inf])) == math.inf


@pytest.mark.parametrize(
    ("ones", "others", "ordered"),
    [
        ([1, 2, 3, 4], [5, 6, 7, 8], True),  # p = 2 / 70
        ([1, 2, 3], [4, 5, 6], False),  # p = 2 / 20: so few cannot be told apart
        ([1, 6, 3, 8], [5, 2, 7, 4], False),
        ([1, 2, 3, 4, 5], [math.inf] * 5, True),
        ([1, 2, math.inf], [3, math.inf, math.inf], False),
        ([math.inf] * 5, [math.inf] * 5, False),
        ([1.0] * 5, [1.0] * 5, False),
        ([1.0], [2.0], False),
    ],
)
def test_what_is_ordered(ones, others, ordered):
    ones, others = np.array(ones, float), np.array(others, float)
    assert are_ordered(ones, others) is are_ordered(others, ones) is ordered


@given(VALUES, VALUES)
def test_order_does_not_know_scales(ones, others):
    """Nothing changes with times that grow with times."""
    assert are_ordered(ones, others) == are_ordered(np.arctan(ones / 1000), np.arctan(others / 1000))
    assert are_ordered(ones, others) == are_ordered(others, ones)
