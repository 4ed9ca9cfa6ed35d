"""Fewer points a curve, and fewer curves, so that a page stays small and quick."""

import numpy as np

POINTS = 120  # of a curve at most
LEAST = 40  # of a curve, however many there are
MEANS = 5  # steps in each, where that leaves LEAST: batches differ
ALL = 300_000  # points of all curves, where LEAST allows
DRAWN = 400  # curves that a figure shows at once; any other is drawn when it is chosen


def thinned(losses: np.ndarray, points: int | None = None) -> tuple[np.ndarray, ...]:
    """Return the means of curves over equal stretches of steps.

    losses: float[trials, steps], NaN where a trial had ended. points: stretches at
    most; by default as many as a page bears for so many trials.

    Returns the steps at which the stretches end, int[points], and the means of what is
    finite, float32[trials, points]: NaN where nothing is.
    """
    trials, steps = losses.shape
    if points is None:
        points = max(LEAST, min(POINTS, steps // MEANS, ALL // max(trials, 1)))
    edges = np.unique(np.linspace(0, steps, min(points, steps) + 1).astype(int))
    finite = np.isfinite(losses)
    known = np.where(finite, losses, 0)
    sums = np.add.reduceat(known, edges[:-1], axis=1, dtype=np.float64)
    counts = np.add.reduceat(finite, edges[:-1], axis=1, dtype=np.int64)
    means = np.full(sums.shape, np.nan, np.float32)
    # A loss just before a divergence may be too large for float32: then it is left out.
    with np.errstate(over="ignore"):
        means[counts > 0] = sums[counts > 0] / counts[counts > 0]
    return edges[1:], np.where(np.isfinite(means), means, np.nan)


def shown(losses: np.ndarray, best: int | None) -> np.ndarray:
    """Return the trials to draw: all, or the best quarter of `DRAWN` and a fair rest.

    losses: of validation, float[trials]. best: a trial that is drawn in any case.
    """
    trials = len(losses)
    if trials <= DRAWN:
        return np.arange(trials)
    order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
    first, rest = order[: DRAWN // 4], order[DRAWN // 4 :]
    fair = rest[np.linspace(0, len(rest) - 1, DRAWN - len(first)).astype(int)]
    extra = [] if best is None else [best]
    return np.unique(np.concatenate([first, fair, extra]).astype(int))
