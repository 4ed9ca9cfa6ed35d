"""The series that figures draw: thinned curves, rungs, and a population's changes."""

from typing import Any

import numpy as np

from jopt.report._record import Record
from jopt.sweep import Lineage

POINTS = 120  # most points of a curve
LEAST = 40  # least points of a curve, for any number of curves
MEANS = 5  # least steps averaged in a point, if that leaves LEAST points
ALL = 300_000  # most points of all curves, if LEAST allows it
DRAWN = 400  # most curves in a figure: the best, and an even selection


def rungs(record: Record) -> dict[str, Any]:
    """Return how many trials each segment trained, and how trials ended in it.

    Returns {"steps", "trained", "pruned", "diverged", "last"}: the first four by
    segment; `last` is the segment of each trial's end, -1 for one that never began.
    """
    status, steps = record.table["status"], record.table["steps"]
    ends = np.asarray(record.valid_steps)
    # A diverged trial made some steps of its last segment; others made all.
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
    """Return a population's changes of hyperparameters, and the winner's ancestry.

    Returns None for a sweep without a lineage, or else {"names", "trials", "best"}:
    `names` are the numeric hyperparameters that changed. `trials` has for each trial a
    list of [step, whether it was copied from another trial then, values]. `best` has
    the same for the runs that led to the winner, from step 0 to the end, or is None.
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
      points: the greatest number of stretches; by default few enough to keep the page
        small and quick.

    Returns:
      The last step of each stretch, int[points], and the means of the finite losses,
      float32[trials, points], NaN for a stretch without one.
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
    # A loss just before a divergence may overflow float32; it is left out.
    with np.errstate(over="ignore"):
        means[counts > 0] = sums[counts > 0] / counts[counts > 0]
    return edges[1:], np.where(np.isfinite(means), means, np.nan)


def shown(losses: np.ndarray, best: int | None) -> np.ndarray:
    """Return the trials to draw: all, or the best and an even selection of the others.

    If there are more than `DRAWN` trials, a quarter of the drawn ones are the best.
    `losses` are the validation losses, float[trials]; `best` is always drawn.
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
    """Return the thinned training loss, or a validation metric, by step.

    Returns:
      Steps, int[points], and values, float32[trials, points], NaN after a trial's end.
    """
    if metric is None:
        steps, losses = thinned(record.curves)
        return steps, losses
    ends, values = thinned(record.valid[metric], POINTS)
    return np.asarray(record.valid_steps)[ends - 1], values
