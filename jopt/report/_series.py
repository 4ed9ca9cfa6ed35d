"""The series that figures draw: curves thinned, rungs, and moves of a population."""

from typing import Any

import numpy as np

from jopt.report._record import Record
from jopt.sweep import Lineage

POINTS = 120  # of a curve at most
LEAST = 40  # of a curve, for any number of curves
MEANS = 5  # steps in each point, if that leaves LEAST points: batches differ
ALL = 300_000  # points of all curves, if LEAST allows it
DRAWN = 400  # curves in a figure: the best, and a fair rest


def rungs(record: Record) -> dict[str, Any]:
    """Return how many trials each segment trained, and how trials ended there.

    Returns {"steps", "trained", "pruned", "diverged", "last"}: the first four by
    segment; `last` is the segment of each trial's end, -1 for one that never began.
    """
    status, steps = record.table["status"], record.table["steps"]
    ends = np.asarray(record.valid_steps)
    # A trial that diverged made some steps of its last segment; others made them all.
    diverged = np.searchsorted(ends, steps, side="right")
    last = np.where(status == "diverged", diverged, np.searchsorted(ends, steps))
    last = np.minimum(last, len(ends) - 1)
    last = np.where((steps == 0) & (status == "interrupted"), -1, last)

    def by_segment(trials: np.ndarray) -> np.ndarray:
        return np.bincount(last[trials & (last >= 0)], minlength=len(ends))

    trained = by_segment(np.ones(len(last), bool))[::-1].cumsum()[::-1]
    return {
        "steps": ends.tolist(),
        "trained": trained.tolist(),
        "pruned": by_segment(status == "pruned").tolist(),
        "diverged": by_segment(status == "diverged").tolist(),
        "last": last.tolist(),
    }


def moves_of(record: Record) -> dict[str, Any] | None:
    """Return how a population's hyperparameters changed, and the winner's ancestry.

    Returns None for a sweep without a lineage, or else {"names", "trials", "best"}: the
    numeric hyperparameters that changed; for each trial a list of [step, whether it was
    copied from another trial then, values]; and the same of the runs that led to the
    winner, from step 0 to the end, or None.
    """
    held = record.info.get("lineage")
    if held is None or not held["events"]:
        return None
    lineage = Lineage.from_dict(held)
    names = [n for n in lineage.settings[0] if _moved(lineage, n)]
    trials = [[[0, False, [s[n] for n in names]]] for s in lineage.settings]
    for event in lineage.events:
        values = [event.new[name] for name in names]
        trials[event.child].append([event.step, event.parent != event.child, values])
    best = None
    if record.best is not None:
        best = [
            [stretch.step, False, [stretch.setting[name] for name in names]]
            for stretch in lineage.ancestors(record.best["trial"])
        ]
    return {"names": names, "trials": trials, "best": best}


def _moved(lineage: Lineage, name: str) -> bool:
    settings = [*lineage.settings, *(event.new for event in lineage.events)]
    values = [setting.get(name) for setting in settings]
    numbers = all(isinstance(v, (int, float)) and v is not True for v in values)
    return numbers and len(set(values)) > 1


def thinned(losses: np.ndarray, points: int | None = None) -> tuple[np.ndarray, ...]:
    """Return the means of curves over equal stretches of steps.

    Args:
      losses: float[trials, steps], NaN after a trial's end.
      points: the most stretches; by default as many as keep a page of so many trials
        small and quick.

    Returns:
      The steps at which the stretches end, int[points], and the means of the finite
      losses, float32[trials, points], NaN where there are none.
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
    """Return the trials to draw: all, or the best and an even selection of the others.

    Of more than `DRAWN` trials a quarter of `DRAWN` are the best ones. `losses` are
    those of validation, float[trials]; `best` is a trial that is drawn in any case.
    """
    trials = len(losses)
    if trials <= DRAWN:
        return np.arange(trials)
    order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
    first, rest = order[: DRAWN // 4], order[DRAWN // 4 :]
    fair = rest[np.linspace(0, len(rest) - 1, DRAWN - len(first)).astype(int)]
    extra = [] if best is None else [best]
    return np.unique(np.concatenate([first, fair, extra]).astype(int))


def curves_of(
    record: Record, metric: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training loss, or a metric of validation, by step, thinned.

    Returns:
      Steps, int[points], and values, float32[trials, points], NaN after a trial's end.
    """
    if metric is None:
        steps, losses = thinned(record.curves)
        return steps, losses
    ends, values = thinned(record.valid[metric], POINTS)
    return np.asarray(record.valid_steps)[ends - 1], values
