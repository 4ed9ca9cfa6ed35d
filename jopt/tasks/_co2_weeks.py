"""The examples of the task `co2`: input weeks, and the change that follows them."""

import itertools

import numpy as np

SEEN, AHEAD = 104, 52  # weeks of input, and weeks to forecast ahead
SHARES = (0.7, 0.1)  # shares of training and validation; the rest is the test


def filled(series: np.ndarray) -> np.ndarray:
    """Return a series whose gaps (NaN) are interpolated between their neighbors.

    Raises:
      ValueError: the series begins or ends in a gap, or has no measurement.
    """
    known = np.flatnonzero(np.isfinite(series))
    if not len(known) or known[0] or known[-1] < len(series) - 1:
        raise ValueError(
            "co2: the series must begin and end with a number, between which its gaps "
            "are interpolated; leave out the weeks before its first and after its last."
        )
    return np.interp(np.arange(len(series)), known, series[known])


def windows(
    series: np.ndarray,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], float]:
    """Return the examples of each part, and the unit of their numbers."""
    ends = np.round(np.cumsum((0, *SHARES, 1 - sum(SHARES))) * len(series)).astype(int)
    ends[0] = SEEN + AHEAD - 1  # the first week with enough weeks before it
    last = [np.arange(a, b) - AHEAD for a, b in itertools.pairwise(ends)]
    unit = float(np.std(series[last[0] + AHEAD] - series[last[0]]))
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, now in zip(("train", "valid", "test"), last, strict=True):
        seen = series[now[:, None] + np.arange(1 - SEEN, 1)] - series[now][:, None]
        change = series[now + AHEAD] - series[now]
        parts[name] = (seen / unit).astype("f4"), (change / unit).astype("f4")
    return parts, unit
