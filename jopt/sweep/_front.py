"""Several objectives, and bounds: which trials dominate, and which are in bounds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from jopt.core import is_real
from jopt.sweep._history import lower_better, means, reduced
from jopt.sweep._task import Mode

Bound: TypeAlias = tuple[float | None, float | None]  # low and high; None for open
Table: TypeAlias = Mapping[str, np.ndarray]


def nondominated(values: np.ndarray) -> list[int]:
    """Return the rows that no other row dominates, in the order of the first column.

        a dominates b  if  a <= b in every column and a < b in one

    Equal rows do not dominate each other, and keep their order. Rows with a non-finite
    value are left out.

    Args:
      values: lower is better, float[rows, columns].
    """
    finite = np.flatnonzero(np.isfinite(values).all(axis=1))
    found: list[int] = []
    # In this order only an earlier row can dominate a row. If one does, so does a row
    # of the front.
    for row in finite[np.lexsort(values[finite].T[::-1])].tolist():
        front = values[found]
        below = (front <= values[row]).all(axis=1) & (front < values[row]).any(axis=1)
        if not below.any():
            found.append(row)
    return found


def front(
    settings: Sequence[np.ndarray],
    table: Table,
    objectives: Mapping[str, Mode],
    ranks: np.ndarray,
) -> list[int]:
    """Return the best trials of the settings that no other dominates.

    `SweepResult.front` says which settings count.

    Args:
      settings: the trials of each setting.
      table: as `table_of` returns it, with `within_bounds` if there are bounds.
      objectives: "min" or "max", by the name of a metric.
      ranks: the values that choose among the trials of a setting, lower is better.
    """
    of_settings = [
        lower_better(_means(table[f"valid_{name}"], settings), mode)
        for name, mode in objectives.items()
    ]
    counts = (table["status"] == "complete") & table.get("within_bounds", True)
    counts &= table.get("confirmed", True)
    counts = reduced(np.logical_and, counts, settings)
    values = np.where(counts, of_settings, np.nan).T
    chosen = [settings[row] for row in nondominated(values)]
    return [int(rows[np.argmin(ranks[rows])]) for rows in chosen]


def within(
    settings: Sequence[np.ndarray], table: Table, bounds: Mapping[str, Bound]
) -> np.ndarray:
    """Return which trials' settings have means within all bounds, bool[trials].

    Bounds are inclusive, and rounded as the metric is: 0.9 in float32 is within a bound
    of 0.9. A mean that is not finite is out of bounds.
    """
    fits = np.ones(len(settings), bool)
    for name, (low, high) in bounds.items():
        column = table[f"valid_{name}"]
        ends = [-math.inf if low is None else low, math.inf if high is None else high]
        with np.errstate(over="ignore"):  # a bound may overflow to infinity
            least, most = np.asarray(ends).astype(column.dtype)
        found = _means(column, settings)
        fits &= (found >= least) & (found <= most)
    found = np.empty(len(table["status"]), bool)
    for rows, fit in zip(settings, fits, strict=True):
        found[rows] = fit
    return found


def _means(column: np.ndarray, settings: Sequence[np.ndarray]) -> np.ndarray:
    """Return each setting's mean, float64; NaN if any of its values is not finite."""
    return means(np.where(np.isfinite(column), column, np.nan).astype(float), settings)


def are_objectives(value: Any) -> bool:
    """Return whether a value is a dict of modes by metric, at least one."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
        and all(mode in ("min", "max") for mode in value.values())
    )


def are_bounds(value: Any) -> bool:
    """Return whether a value is a dict of bounds by metric, each with an end."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _is_bound(bound) for name, bound in value.items()
    )


def _is_bound(value: Any) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    ends = [end for end in value if end is not None]
    finite = all(is_real(end) and math.isfinite(end) for end in ends)
    return finite and len(ends) > 0 and ends == sorted(ends)
