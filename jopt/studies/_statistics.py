"""The statistics of a study: means, differences and ratios over seeds, and optima.

All take NumPy arrays, whose last axis is the seed unless stated otherwise.
"""

import math
from typing import Any, NamedTuple

import numpy as np

FALLS = 0.01  # share of its loss by which a baseline must fall, or it is a plateau
POWER = 0.8  # with which a difference should be found
DRAWS = 5_000  # of a bootstrap
NEAR = 2  # points on each side of the best through which a parabola goes


class Interval(NamedTuple):
    """A value with the ends of its confidence interval; NaN where there is none."""

    value: float
    low: float
    high: float


class Paired(NamedTuple):
    """The mean of paired differences, its interval and the p value of no difference."""

    value: float
    low: float
    high: float
    p: float


NOTHING = Interval(math.nan, math.nan, math.nan)


def mean_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Return the mean over seeds, with Student's interval of n - 1 degrees of freedom.

    One value has no interval. A value that is not finite makes everything NaN.
    """
    from scipy import stats  # an extra, and slow to load

    values, n = np.asarray(values, float), len(values)
    if not n or not np.isfinite(values).all():
        return NOTHING
    mean = float(values.mean())
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    error = values.std(ddof=1) / math.sqrt(n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * error)
    return Interval(mean, mean - half, mean + half)


def paired(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Paired:
    """Return the mean of a - b over seeds, by the paired t test.

    Equal pairs differ by exactly 0, at a p value of 1.
    """
    from scipy import stats

    differences = np.asarray(a, float) - np.asarray(b, float)
    found = mean_interval(differences, level)
    if math.isnan(found.low):
        return Paired(*found, math.nan)
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    if error == 0:
        return Paired(*found, float(found.value == 0))
    t = abs(found.value) / error
    return Paired(*found, float(2 * stats.t.sf(t, len(differences) - 1)))


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's p values of several tests; NaN stays NaN and does not count.

    Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p, float)
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    times = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(times * p[order]), 1)
    return adjusted


def power(size: float, n: int, level: float = 0.95) -> float:
    """Return the chance that a paired t test of n seeds finds a difference.

    Args:
      size: the difference in standard deviations of the paired differences.
      n: seeds, at least 2.
      level: 1 less the chance of finding a difference where there is none.
    """
    from scipy import stats

    bound, center = stats.t.ppf((1 + level) / 2, n - 1), abs(size) * math.sqrt(n)
    return float(stats.nct.sf(bound, n - 1, center))


def seeds_needed(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> float:
    """Return the seeds with which a paired t test would find the difference of a and b.

    It is the least number whose `power` is at least 0.8, if mean and spread are those
    of these seeds; infinite where there is no difference, NaN for one seed.
    """
    from scipy import stats

    differences = np.asarray(a, float) - np.asarray(b, float)
    if len(differences) < 2 or not np.isfinite(differences).all():
        return math.nan
    gap, spread = abs(differences.mean()), differences.std(ddof=1)
    if gap == 0:
        return math.inf
    if spread == 0:
        return 2.0
    size = gap / spread
    # The normal distribution's number is right if it is large, else too small.
    normal = (stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(POWER)) / size
    n = max(2, math.ceil(normal**2))
    if n > 500:
        return float(n + 2)
    while power(size, n, level) < POWER:
        n += 1
    return float(n)


def least_difference(spread: float, n: int, level: float = 0.95) -> float:
    """Return the difference that n seeds find with a `power` of 0.8.

    Args:
      spread: standard deviation of the paired differences.
      n: seeds, at least 2.
      level: as for `power`.
    """
    from scipy import optimize

    size: Any = optimize.brentq(lambda x: power(x, n, level) - POWER, 0.0, 100.0)
    return float(size) * spread


def rank_intervals(
    values: np.ndarray, rng: np.random.Generator, share: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of each row's rank by its mean; 1 is the lowest.

    Seeds are resampled, the same for all rows, as they are paired.

    Args:
      values: rows by seeds; a row that is not finite ranks last.
      rng: source of the draws.
      share: share of the draws inside the interval.
    """
    seeds = values.shape[1]
    drawn = rng.integers(0, seeds, (DRAWS, seeds))
    finite = np.isfinite(values).all(axis=1, keepdims=True)
    means = np.where(finite, values, np.inf)[:, drawn].mean(axis=2)
    ranks = (means[:, None, :] > means[None, :, :]).sum(axis=1) + 1
    ends = [(1 - share) / 2, (1 + share) / 2]
    low, high = np.quantile(ranks, ends, axis=1, method="nearest").astype(int)
    return low, high


class Optimum(NamedTuple):
    """The best of a ladder of rates."""

    rate: float  # by the parabola, or the best that was trained
    row: int  # the best rate that was trained
    curvature: float  # of loss by log2 rate, NaN without a parabola


def optimum(rates: np.ndarray, means: np.ndarray, near: int = NEAR) -> Optimum:
    """Return the best rate: the lowest point of a parabola in log2 of the rate.

    The parabola goes through the best rate and at most `near` rates on each side, and
    its lowest point is taken only inside them. At an end of the ladder, or without
    three finite points, it is the best rate itself.

    Args:
      rates: ascending.
      means: losses, lower is better; not finite where a seed diverged.
      near: points on each side.
    """
    x, y = np.log2(rates), np.where(np.isfinite(means), means, np.inf)
    row = int(np.argmin(y))
    picked = np.arange(max(row - near, 0), min(row + near + 1, len(x)))
    picked = picked[np.isfinite(y[picked])]
    inside = picked.size > 2 and picked[0] < row < picked[-1]
    if not inside:
        return Optimum(float(rates[row]), row, math.nan)
    # Centered: the numbers are of order 1, and log2 of a rate need not be.
    a, b, _ = np.polyfit(x[picked] - x[row], y[picked], 2)
    if a <= 0:
        return Optimum(float(rates[row]), row, math.nan)
    best = np.clip(x[row] - b / (2 * a), x[picked[0]], x[picked[-1]])
    return Optimum(float(2**best), row, float(2 * a))


def sensitivity(rates: np.ndarray, means: np.ndarray, at_init: float) -> float:
    """Return how much is lost by a rate that is wrong by up to a factor of 10.

        mean over the rates in [best / 10, 10 best] of min(loss, loss at init) - best

    Wortsman et al. 2023, https://arxiv.org/abs/2309.14322.
    """
    means = np.where(np.isfinite(means), means, np.inf)
    row = int(np.argmin(means))
    near = np.abs(np.log10(rates / rates[row])) <= 1 + 1e-9
    return float(np.minimum(means[near], at_init).mean() - means[row])


def octaves(rates: np.ndarray, means: np.ndarray) -> float:
    """Return the width of the valley in which the loss is within 1 % of the best.

    It is in factors of 2 of the rate, along straight lines between the trained rates.
    """
    x, y = np.log2(rates), np.where(np.isfinite(means), means, np.inf)
    row = int(np.argmin(y))
    limit, ends = y[row] + 0.01 * abs(y[row]), [x[row], x[row]]
    for side, step in enumerate((-1, 1)):
        at = row
        while 0 <= at + step < len(x) and y[at + step] <= limit:
            at += step
        ends[side] = x[at]
        after = at + step
        if 0 <= after < len(x) and np.isfinite(y[after]):
            share = (limit - y[at]) / (y[after] - y[at])
            ends[side] = x[at] + share * (x[after] - x[at])
    return float(ends[1] - ends[0])


def same_run_ratio(
    steps: np.ndarray, baseline: np.ndarray, contender: np.ndarray, level: float = 0.95
) -> Interval | str:
    """Return how many times fewer steps reach the baseline's last loss, in one run.

    Each seed's ratio is all steps over those at which the contender's curve first
    crosses its baseline's last loss.

    Args:
      steps: before each evaluation, ascending.
      baseline: losses, seeds by evaluations.
      contender: likewise.
      level: of the interval.

    Returns:
      The mean and its interval; or why there is none: "never" if a seed's curve does
      not cross, "plateau" if the baseline's loss no longer falls at its end, so that
      the crossing says nothing.
    """
    last = baseline[:, -1]
    pairs = zip(contender, last, strict=True)
    cross = np.asarray([_reached(steps, curve, goal) for curve, goal in pairs])
    if np.array_equal(baseline, contender):
        return Interval(1.0, 1.0, 1.0)
    before = np.interp(0.7 * steps[-1], steps, baseline.mean(axis=0))
    error = last.std(ddof=1) / math.sqrt(len(last)) if len(last) > 1 else 0.0
    if before - last.mean() <= max(2 * error, FALLS * abs(last.mean())):
        return "plateau"
    if not np.isfinite(cross).all():
        return "never"
    return mean_interval(steps[-1] / cross, level)


def _reached(steps: np.ndarray, curve: np.ndarray, goal: float) -> float:
    """Return the step at which a curve first falls to `goal`; infinite if never."""
    below = np.flatnonzero(curve <= goal)
    if not below.size:
        return math.inf
    at = int(below[0])
    if at == 0:
        return float(steps[0])
    share = (curve[at - 1] - goal) / (curve[at - 1] - curve[at])
    return float(steps[at - 1] + share * (steps[at] - steps[at - 1]))


def horizon_ratio(
    horizons: np.ndarray,
    baseline: np.ndarray,
    losses: np.ndarray,
    own: np.ndarray,
    level: float = 0.95,
) -> Interval | str:
    """Return how many times longer the baseline must train for the same loss.

        ratio = D(loss) / D(own loss),  D: the baseline's horizon by its final loss

    D is a monotone line through log loss by log horizon, of the means over the seeds.

    Args:
      horizons: multiples of the run's length, ascending.
      baseline: the baseline's mean final losses at them.
      losses: the contender's final losses at horizon 1, by seed.
      own: the baseline's, of the same seeds.
      level: of the interval.

    Returns:
      The mean and its interval; or why there is none: "plateau" if the baseline's loss
      does not fall with the horizon, "beyond" if a loss is lower than the baseline's at
      the longest horizon, "below" if it is higher than at the shortest.
    """
    from scipy.interpolate import make_interp_spline

    falling = np.minimum.accumulate(baseline)
    if falling[-1] > (1 - FALLS) * np.interp(1, horizons, falling):
        return "plateau"
    if np.array_equal(losses, own):
        return Interval(1.0, 1.0, 1.0)
    kept = np.concatenate([[True], np.diff(falling) < 0])
    x, y = np.log(horizons[kept])[::-1], np.log(falling[kept])[::-1]
    mean = math.log(np.mean(losses))
    if not y[0] <= mean <= y[-1]:
        return "beyond" if mean < y[0] else "below"
    # Single seeds may lie beyond the ends, where the curve is extended straight.
    read = make_interp_spline(y, x, k=1)
    ratios = mean_interval(read(np.log(losses)) - read(np.log(own)), level)
    return Interval(*map(math.exp, ratios))


class Law(NamedTuple):
    """log2(rate) = intercept + exponent log2(width)."""

    exponent: float
    intercept: float

    def rate(self, width: float) -> float:
        """Return the rate at a width."""
        return float(2 ** (self.intercept + self.exponent * math.log2(width)))


def law(widths: np.ndarray, rates: np.ndarray) -> Law:
    """Return the power law of the best rate by width, of least squares in logs."""
    exponent, intercept = np.polyfit(np.log2(widths), np.log2(rates), 1)
    return Law(float(exponent), float(intercept))
