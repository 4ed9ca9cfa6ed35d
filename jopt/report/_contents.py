"""What the page's scripts draw from, as plain values for JSON."""

import base64
import math
from typing import Any

import numpy as np

from jopt.report._ancestry import ancestry
from jopt.report._importance import importance
from jopt.report._record import Record
from jopt.report._thinning import shown, thinned


def contents(record: Record) -> dict[str, Any]:
    """Return all that the figures and the table show; no value is NaN or infinite."""
    losses = record.table.get("valid_loss", record.table["train_loss"])
    best = None if record.best is None else int(record.best["trial"])
    ends, means = thinned(record.curves)
    setting = np.zeros(len(losses), int)
    for position, rows in enumerate(record.settings()):
        setting[rows] = position
    return {
        "columns": {name: _column(c) for name, c in record.table.items()},
        "hyperparameters": record.hyperparameters,
        "varying": record.varying,
        "setting": setting.tolist(),
        "best": best,
        "steps": record.curves.shape[1],
        "curves": {"steps": ends.tolist(), "losses": _packed(means)},
        "shown": shown(losses, best).tolist(),
        "valid": {
            "steps": record.valid_steps.tolist(),
            "metrics": {name: _packed(v) for name, v in record.valid.items()},
        },
        "rungs": rungs(record),
        "importance": importance(record),
        "ancestry": ancestry(record),
    }


def rungs(record: Record) -> dict[str, Any]:
    """Return how many trials each segment trained, and what ended them there.

    Returns {"steps", "trained", "pruned", "diverged", "last"}: by segment, and `last`
    the segment of each trial's end, -1 for one that never began.
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


def _column(column: np.ndarray) -> list[Any]:
    if column.dtype.kind == "f":  # by what they print: half the digits of a double
        return [float(str(v)) if math.isfinite(v) else None for v in column]
    return column.tolist()


def _packed(array: np.ndarray) -> str:
    """Float32 in base64, rows one after the other: a third of its size as text."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
