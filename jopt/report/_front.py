"""The settings of a sweep by two objectives, and the border of their front."""

from typing import Any, Literal, NamedTuple

import numpy as np

from jopt.report._record import Record
from jopt.sweep import nondominated

FRONT, DOMINATED, OUT = "front", "dominated", "out of bounds"
BETTER = {"min": "lower is better", "max": "higher is better"}


class Axis(NamedTuple):
    """An objective, and each setting's mean of it."""

    metric: str
    mode: str
    values: np.ndarray  # float64[settings], NaN without one
    bounds: list[float]  # the bounds, if there are any

    @property
    def title(self) -> str:
        """The title of the axis."""
        return f"validation {self.metric.replace('_', ' ')} ({BETTER[self.mode]})"


class Front(NamedTuple):
    """The points and the line of a front's picture.

    Settings that were not trained to the end, or whose mean is not finite, have the
    kind "".
    """

    x: Axis  # the second objective
    y: Axis  # the first objective
    kinds: list[str]  # of each setting: on the front, dominated, out of bounds, or ""
    trials: list[int]  # of each setting, the trial that represents it
    line: list[int]  # settings that are not dominated in these two objectives, by x
    corners: Literal["post", "pre"]  # the line is level after or before each point
    best: int | None  # the winner's setting


def front_of(record: Record) -> Front | None:
    """Return the picture of a front; None for a sweep without several objectives."""
    objectives = list((record.info.get("objectives") or {}).items())[:2]
    if len(objectives) < 2:
        return None
    settings, table, info = record.settings(), record.table, record.info
    y, x = (_axis(*each, settings, record) for each in objectives)
    on, best = set(info["front"]), None if record.best is None else record.best["trial"]
    kinds: list[str] = []
    for row, rows in enumerate(settings):
        done = (table["status"][rows] == "complete").all()
        out = "within_bounds" in table and not table["within_bounds"][rows[0]]
        kind = FRONT if on & set(rows.tolist()) else OUT if out else DOMINATED
        known = done and np.isfinite([x.values[row], y.values[row]]).all()
        kinds.append(kind if known else "")
    rows = np.flatnonzero(np.asarray(kinds) == FRONT)
    signs = [-1 if axis.mode == "max" else 1 for axis in (x, y)]
    values = np.stack([x.values[rows], y.values[rows]], axis=1) * signs
    line = rows[sorted(nondominated(values), key=lambda row: x.values[rows[row]])]
    return Front(
        x=x,
        y=y,
        kinds=kinds,
        trials=[next((t for t in r.tolist() if t in on), int(r[0])) for r in settings],
        line=line.tolist(),
        corners="pre" if x.mode == "max" else "post",
        best=next((row for row, rows in enumerate(settings) if best in rows), None),
    )


def _axis(metric: str, mode: str, settings: list[np.ndarray], record: Record) -> Axis:
    column = record.table[f"valid_{metric}"].astype(float)
    column = np.where(np.isfinite(column), column, np.nan)
    bounds: Any = (record.info.get("bounds") or {}).get(metric, ())
    means = np.asarray([column[rows].mean() for rows in settings])
    return Axis(metric, mode, means, [end for end in bounds if end is not None])
