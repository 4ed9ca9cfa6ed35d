"""`Record`: a sweep's result as plain values, for the page and the trackers."""

import dataclasses
from typing import Any

import numpy as np

from jopt.sweep import SweepResult, column_of, plain, winner


@dataclasses.dataclass(frozen=True)
class Record:
    """A sweep's results as plain values.

    Args:
      table: as in `SweepResult`; hyperparameters that are neither numbers nor bools are
        text.
      curves: as in `SweepResult`.
      valid: as in `SweepResult`.
      valid_steps: as in `SweepResult`.
      info: the content of sweep.json.
      best: the content of best.json, or None if there is no winner.
    """

    table: dict[str, np.ndarray]
    curves: np.ndarray  # float32[trials, steps]
    valid: dict[str, np.ndarray]  # each float32[trials, segments]
    valid_steps: np.ndarray  # int[segments]
    info: dict[str, Any]
    best: dict[str, Any] | None = None

    @classmethod
    def of(cls, result: SweepResult) -> "Record":
        """Return the record of a result."""
        return cls(
            table={name: _text(column) for name, column in result.table.items()},
            curves=np.asarray(result.curves, np.float32),
            valid={k: np.asarray(v, np.float32) for k, v in result.valid.items()},
            valid_steps=np.asarray(result.valid_steps),
            info=plain(result.info, exact=False),
            best=plain(result.best_as_dict(), exact=False),
        )

    @property
    def metric(self) -> str:
        """The column of the table by which trials are ranked."""
        name = f"valid_{self.info.get('metric', 'loss')}"
        return name if name in self.table else "train_loss"

    @property
    def mode(self) -> str:
        """Which values of the metric are better: "min" or "max"."""
        return "max" if self.info.get("mode") == "max" else "min"

    @property
    def hyperparameters(self) -> list[str]:
        """The names of the columns of hyperparameters, in the table's order."""
        names = list(self.table)
        return names[names.index("trial") + 1 : names.index("seed")]

    @property
    def varying(self) -> list[str]:
        """The hyperparameters that take several values."""
        table = self.table
        return [n for n in self.hyperparameters if len(set(table[n].tolist())) > 1]

    def baselines(self, metric: str) -> dict[str, float]:
        """Return the baselines' values of a validation metric, by name."""
        metric = metric.removeprefix("valid_")
        given = self.info.get("baseline") or {}
        return {name: v[metric] for name, v in given.items() if metric in v}

    def settings(self) -> list[np.ndarray]:
        """Return the rows of each setting, whose trials differ by seed or fold.

        `info` numbers the setting of each trial, because two factories may take the
        same numbers.
        """
        rows: dict[int, list[int]] = {}
        for row, setting in enumerate(self.info["setting"]):
            rows.setdefault(setting, []).append(row)
        return [np.asarray(found) for found in rows.values()]

    def best_of_each(self) -> dict[str, list[tuple[Any, int | None, float]]]:
        """Return the best of each value of the categorical hyperparameters.

        These are the varying hyperparameters that are not numbers, and those by which
        the sweep's programs differ.

        Returns:
          By the name of a column, a list of (value, best trial, mean), the best first.
          The mean is that of the ranking metric over the trial's setting. Trial and
          mean are None and NaN if all trials of the value diverged or are out of
          bounds. Empty if the sweep has no winner.
        """
        info = self.info
        groups = info.get("grouped_by") or []
        apart = {column_of(name) for group in groups for name in group["because"]}
        goal: Any = self.metric.removeprefix("valid_"), self.mode
        means, sign = np.empty(len(self.table["trial"])), 1 if goal[1] == "min" else -1
        for rows in self.settings():
            means[rows] = self.table[self.metric][rows].astype(float).mean()
        found: dict[str, list[tuple[Any, int | None, float]]] = {}
        for name in self.varying if self.best else ():
            if self.table[name].dtype.kind in "iuf" and name not in apart:
                continue
            settings: dict[str, list[np.ndarray]] = {}
            for rows in self.settings():
                settings.setdefault(str(self.table[name][rows[0]]), []).append(rows)
            told = ["" if v is None else v for v in info.get("space", {}).get(name, [])]
            for lacking in {"", "nan"}.difference(told):  # trials without a value
                settings.pop(lacking, None)
            found[name] = []
            for own in settings.values():
                best = winner(own, self.table, *goal)
                mean = np.nan if best is None else float(means[best])
                value = self.table[name][own[0][0]].item()
                found[name].append((value, best, mean))
            found[name].sort(key=lambda each: (each[1] is None, sign * each[2]))
        return found


def _text(column: np.ndarray) -> np.ndarray:
    """Return a column as text, unless it holds numbers or bools."""
    if column.dtype.kind in "biuf":
        return column
    return np.asarray(["" if value is None else str(value) for value in column])
