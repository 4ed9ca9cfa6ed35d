"""Promises of a study's statistics, each against an oracle of its own."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jopt.studies import _statistics as s


def test_intervals_and_p_values_are_those_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal([[0.3], [0.0]], size=(2, 8))
    found, theirs = s.paired(a, b, 0.9), stats.ttest_rel(a, b)
    ends = theirs.confidence_interval(0.9)
    expected = [(a - b).mean(), ends.low, ends.high, theirs.pvalue]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    alone = stats.t.interval(0.95, 7, a.mean(), stats.sem(a))
    np.testing.assert_allclose(s.mean_interval(a), [a.mean(), *alone], rtol=1e-12)
    assert math.isnan(s.mean_interval(a[:1]).low)
    assert math.isnan(s.mean_interval(np.array([1.0, np.inf])).value)


def test_95_percent_intervals_cover_95_percent_of_comparisons():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(10_000, 5))  # of the seeds: pairs are correlated
    a = shared + 0.5 * rng.normal(size=(10_000, 5)) + 0.2
    b = shared + 0.5 * rng.normal(size=(10_000, 5))
    differences = a - b
    # The same half width for all rows, so that one call per row is not needed.
    half = stats.t.ppf(0.975, 4) * differences.std(axis=1, ddof=1) / math.sqrt(5)
    covers = np.abs(differences.mean(axis=1) - 0.2) <= half
    some = [s.paired(x, y) for x, y in zip(a[:50], b[:50], strict=True)]
    assert [f.low <= 0.2 <= f.high for f in some] == covers[:50].tolist()
    assert 0.94 < covers.mean() < 0.96


def test_p_values_are_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(2)
    p = [s.paired(*rng.normal(size=(2, 8))).p for _ in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert s.paired(np.arange(4.0), np.arange(4.0)) == (0, 0, 0, 1)


def test_holm_is_the_step_down_of_its_paper():
    # statsmodels' multipletests(p, method="holm") of the same numbers.
    p = np.array([0.01, 0.04, 0.03, 0.005, np.nan])
    np.testing.assert_allclose(s.holm(p)[:4], [0.03, 0.06, 0.06, 0.02])
    assert math.isnan(s.holm(p)[4])
    rng = np.random.default_rng(3)
    wrong = [s.holm(rng.uniform(size=6)).min() < 0.05 for _ in range(4000)]
    assert 0.03 < np.mean(wrong) < 0.06  # chance of any false verdict


def test_the_seeds_needed_have_a_power_of_four_fifths():
    rng = np.random.default_rng(4)
    a = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    n = int(s.seeds_needed(a, np.zeros(5)))
    size = a.mean() / a.std(ddof=1)
    draws = rng.normal(size, 1, (4000, n))
    tested: Any = stats.ttest_1samp(draws, 0, axis=1)
    found = tested.pvalue < 0.05
    np.testing.assert_allclose(found.mean(), s.power(size, n), atol=0.02)
    assert s.power(size, n - 1) < s.POWER <= s.power(size, n)
    np.testing.assert_allclose(s.power(s.least_difference(1.0, 8), 8), 0.8)
    assert s.seeds_needed(a, a) == math.inf


def test_ranks_are_those_of_a_bootstrap_and_ties_share_the_best():
    rng = np.random.default_rng(5)
    clear = np.array([[1.0, 1.1, 0.9], [5.0, 5.1, 4.9], [np.nan, 2.0, 2.0]])
    low, high = s.rank_intervals(clear, rng)
    np.testing.assert_array_equal([low, high], [[1, 2, 3], [1, 2, 3]])
    same = np.tile(rng.normal(size=6), (2, 1))
    np.testing.assert_array_equal(s.rank_intervals(same, rng), [[1, 1], [1, 1]])
    one = rng.normal(size=6)
    low, high = s.rank_intervals(np.stack([one, one[::-1]]), rng)  # of equal means
    assert low.tolist() == [1, 1]
    assert high.tolist() == [2, 2]


def test_a_parabola_finds_its_lowest_point_and_stays_inside():
    rates = 2.0 ** np.arange(-8, 1)
    means = 1 + 0.3 * (np.log2(rates) + 3.3) ** 2
    found = s.optimum(rates, means)
    np.testing.assert_allclose(found.rate, 2**-3.3)
    np.testing.assert_allclose(found.curvature, 0.6)
    assert s.optimum(rates, np.arange(9.0)).rate == rates[0]
    diverged = np.array([3, 2, 1, np.nan, np.inf, np.inf, np.inf, np.inf, np.inf])
    assert s.optimum(rates, diverged).rate == rates[2]


def test_the_width_of_a_valley_is_read_off_straight_lines():
    rates = 2.0 ** np.arange(-3, 4)
    means = 1 + 0.01 * np.abs(np.log2(rates))
    np.testing.assert_allclose(s.octaves(rates, means), 2.0)
    np.testing.assert_allclose(
        s.sensitivity(rates, means, at_init=1.02), np.mean([2, 2, 1, 0, 1, 2, 2]) / 100
    )


HORIZONS = np.array([0.5, 0.7, 1, 1.4, 2])
FALLING = lambda d, c=0.0: 2.0 * d**-0.3 + c  # noqa: E731, the law of the losses


def test_a_speed_up_of_1_4_is_read_off_the_horizons():
    rng = np.random.default_rng(6)
    noise = 1 + 0.002 * rng.normal(size=(2, 8))
    own, losses = FALLING(1.0) * noise[0], FALLING(1.4) * noise[1]
    found = s.horizon_ratio(HORIZONS, FALLING(HORIZONS), losses, own)
    assert isinstance(found, s.Interval)
    np.testing.assert_allclose(found.value, 1.4, rtol=0.02)
    assert found.low < 1.4 < found.high
    itself = s.horizon_ratio(HORIZONS, FALLING(HORIZONS), own, own)
    assert itself == (1, 1, 1)
    far = 10 * own  # beyond the curve, and still itself
    assert s.horizon_ratio(HORIZONS, FALLING(HORIZONS), far, far) == (1, 1, 1)


@pytest.mark.parametrize(
    ("baseline", "losses", "said"),
    [
        (FALLING(HORIZONS * 1e8, 1.0), 1.0, "plateau"),
        (FALLING(HORIZONS), FALLING(3.0), "beyond"),
        (FALLING(HORIZONS), FALLING(0.3), "below"),
    ],
)
def test_where_the_horizons_say_nothing_there_is_no_number(baseline, losses, said):
    seeds = np.full(4, losses)
    assert s.horizon_ratio(HORIZONS, baseline, seeds, np.full(4, baseline[2])) == said


def test_ratios_within_a_run_refuse_a_plateau():
    steps, rng = np.arange(10, 101, 10), np.random.default_rng(7)
    level = 0.01 * rng.normal(size=(6, 1))
    baseline, faster = FALLING(steps / 100) + level, FALLING(steps / 50) + level
    found = s.same_run_ratio(steps, baseline, faster)
    assert isinstance(found, s.Interval)
    np.testing.assert_allclose(found.value, 2.0, rtol=0.02)
    assert s.same_run_ratio(steps, faster, baseline) == "never"
    assert s.same_run_ratio(steps, baseline, baseline) == (1, 1, 1)
    flat = np.minimum(baseline, baseline[:, 5:6]).clip(baseline[:, 4:5])
    assert s.same_run_ratio(steps, flat, faster) == "plateau"


def test_a_law_is_the_line_in_logs():
    widths = np.array([16, 32, 64, 128])
    found = s.law(widths, 0.5 * widths**-0.8)
    np.testing.assert_allclose(
        [found.exponent, found.rate(512)], [-0.8, 0.5 * 512**-0.8]
    )
