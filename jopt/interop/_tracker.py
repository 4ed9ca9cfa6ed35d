"""`Tracker`: the base class of callbacks that log a sweep to an experiment tracker."""

import abc
import warnings
from typing import Any

import numpy as np

from jopt.sweep import Segment


class Tracker(abc.ABC):
    """Log each trial to another library, at the end of each segment of a sweep.

        sweep.run(task, trials, callbacks=[tracker])

    A trial is a run. It begins with the trial's hyperparameters, seed and fold. Each
    segment adds `train/loss`, the mean over its steps, and `valid/...`, the metrics.
    The run ends with the trial's status. Values that are not finite are left out. After
    a resume, or in a sweep that began without it, a new tracker logs all past segments
    first. In a search, the runs of all batches are numbered consecutively.

    If the library fails, for example without a network or on a full disk, the tracker
    warns and logs nothing more, and the sweep continues.

    Attributes:
      failed: the error that stopped the logging, or None.
    """

    def __init__(self) -> None:
        self.failed: Exception | None = None
        self._runs: dict[int, Any] = {}  # runs of the trials that have begun
        self._ended: set[int] = set()
        self._told = 0  # segments that are logged
        self._before = 0  # number of trials in earlier batches of a search
        self._trials = 0

    @abc.abstractmethod
    def begin(self, number: int, setting: dict[str, Any], now: Segment) -> Any:
        """Begin the run of a trial, and return it.

        Args:
          number: the trial's number in the sweep or the search.
          setting: its hyperparameters, seed and fold, as in the table.
          now: the segment that has ended.
        """

    @abc.abstractmethod
    def log(self, run: Any, step: int, values: dict[str, float]) -> None:
        """Log the values of a segment, at least one, to a run."""

    @abc.abstractmethod
    def end(self, run: Any, status: str) -> None:
        """End a run, whose trial is complete, pruned or diverged."""

    def __call__(self, now: Segment) -> None:
        """Log the segment that has ended."""
        if self.failed is not None:
            return
        try:
            self._tell(now)
        except Exception as error:  # the sweep must not fail with the library
            self.failed = error
            warnings.warn(
                f"{type(self).__name__} failed after segment {now.number} and is "
                f"silent from now on; the sweep goes on ({type(error).__name__}: "
                f"{error}).",
                stacklevel=2,
            )

    def _tell(self, now: Segment) -> None:
        if now.number <= self._told:  # a new batch of a search has begun
            self._before += self._trials
            self._runs, self._ended, self._told = {}, set(), 0
        self._trials = len(now.alive)
        names = list(now.table)
        shown = names[1 : names.index("seed") + 1] + ["fold"] * ("fold" in names)
        for row, status in enumerate(now.table["status"].tolist()):
            if row in self._ended:
                continue
            if row not in self._runs:
                setting = {name: now.table[name][row] for name in shown}
                setting = {n: plain(value) for n, value in setting.items()}
                setting = {n: value for n, value in setting.items() if value == value}
                setting = {n: v for n, v in setting.items() if v is not None}
                self._runs[row] = self.begin(self._before + row, setting, now)
            for segment in range(self._told, now.number):
                if values := _values(now, row, segment):
                    step = int(now.valid_steps[segment])
                    self.log(self._runs[row], step, values)
            if status != "interrupted":
                self.end(self._runs.pop(row), status)
                self._ended.add(row)
        self._told = now.number


def plain(value: Any) -> Any:
    """Return a value of a table as Python's bool, number, text or None."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)


def _values(now: Segment, row: int, segment: int) -> dict[str, float]:
    """Return the finite values of a trial in a segment, by name."""
    ends = [0, *now.valid_steps.tolist()]
    losses = now.curves[row, ends[segment] : ends[segment + 1]]
    losses = losses[np.isfinite(losses)]
    found = {"train/loss": float(losses.mean(dtype=float))} if len(losses) else {}
    for name, seen in now.valid.items():
        found[f"valid/{name}"] = float(seen[row, segment])
    return {name: value for name, value in found.items() if np.isfinite(value)}
