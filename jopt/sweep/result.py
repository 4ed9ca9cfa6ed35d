"""What came of a sweep: a table, curves, the winner, and all parameters."""

import dataclasses
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jopt._pytree import PyTree
from jopt.sweep import files
from jopt.sweep.history import History
from jopt.sweep.trial import Trial

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Best:
    """The winner on validation, and what it does on the test set, seen this once."""

    trial: int
    hyperparameters: dict[str, Any]
    seed: int
    valid: dict[str, float]
    test: dict[str, float]


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What came of each trial.

    table: a NumPy array by column: `trial`, the hyperparameters, `seed`, `status`
        (complete, diverged or interrupted), `steps`, `train_loss` (mean over the last
        segment), `valid_loss` and the task's other metrics.
    curves: the training loss before each step, float32[trials, steps]; NaN where there
        was none.
    valid: the validation metrics by segment, each float32[trials, segments].
    valid_steps: the steps that those were seen after, int[segments].
    best: the winner, or None if every trial diverged.
    info: how it ran: versions, device, sizes, times.
    """

    trials: tuple[Trial, ...]
    table: dict[str, np.ndarray]
    curves: np.ndarray
    valid: dict[str, np.ndarray]
    valid_steps: np.ndarray
    best: Best | None
    info: dict[str, Any]
    # The trials' numbers, and their parameters and model state, stacked, by structure.
    _stacked: list[tuple[np.ndarray, PyTree, PyTree]] = dataclasses.field(repr=False)

    def params(self, trial: int) -> PyTree:
        """Return a trial's last parameters, those before it diverged if it did."""
        return self._row(trial)[0]

    def model_state(self, trial: int) -> PyTree:
        """Return what else a trial's model held: batch statistics, counters."""
        return self._row(trial)[1]

    def settings(self) -> dict[str, np.ndarray]:
        """Return the table with a row a setting: means and spreads over its seeds.

        Each metric's column is followed by `..._std`, the standard deviation over the
        seeds, `..._min` and `..._max`. A setting of which one seed diverged counts as
        diverged: its metrics are NaN. `trial` is its best seed's; `trials` counts its
        seeds.
        """
        table: dict[str, list[Any]] = {}
        for rows in settings_of(self.trials):
            best = rows[int(np.argmin(_worst_last(self.table["valid_loss"][rows])))]
            row: dict[str, Any] = {"trial": best, "trials": len(rows)}
            row |= {name: self.table[name][best] for name in self.info["space"]}
            row["status"] = max(self.table["status"][rows], key=_STATUSES.index)
            for name in ("train_loss", *(f"valid_{key}" for key in self.valid)):
                values = self.table[name][rows].astype(float)
                row |= {name: values.mean(), f"{name}_std": values.std()}
                row |= {f"{name}_min": values.min(), f"{name}_max": values.max()}
            for name, value in row.items():
                table.setdefault(name, []).append(value)
        return {name: np.asarray(column) for name, column in table.items()}

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a pandas data frame (`pip install 'jopt[plots]'`)."""
        import pandas  # an extra, and slow to load

        return pandas.DataFrame(self.table)

    def plot(self, hyperparameter: str | None = None) -> "Figure":
        """Return a matplotlib figure: final validation loss, and the loss curves.

        hyperparameter: of the horizontal axis; by default the learning rate, or the
        first that has several values.
        """
        from jopt.sweep import plots  # matplotlib is an extra, and slow to load

        return plots.overview(self, hyperparameter)

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write trials.csv, curves.npz, sweep.json, best.json and the pictures.

        Returns the files written. Without matplotlib there are no pictures. Raises an
        OSError if the directory cannot be written.
        """
        return files.save(self, Path(directory))

    def _row(self, trial: int) -> tuple[PyTree, PyTree]:
        for positions, params, model_state in self._stacked:
            if trial in positions:
                take = operator.itemgetter(int(np.flatnonzero(positions == trial)[0]))
                return jax.tree.map(take, (params, model_state))
        last = len(self.trials) - 1
        raise KeyError(f"There is no trial {trial}; they are 0 to {last}.")


_STATUSES = ("complete", "interrupted", "diverged")


def settings_of(trials: Sequence[Trial]) -> list[np.ndarray]:
    """Return the positions of the trials of each setting, in the order of the first."""
    found: dict[str, list[int]] = {}
    for position, trial in enumerate(trials):
        found.setdefault(repr(trial.hyperparameters), []).append(position)
    return [np.asarray(rows) for rows in found.values()]


def table_of(trials: Sequence[Trial], history: History) -> dict[str, np.ndarray]:
    """Return the columns of a sweep's table."""
    steps = history.losses.shape[1]
    over = np.where(history.steps == steps, "complete", "interrupted")
    names = list(trials[0].hyperparameters)
    return {
        "trial": np.arange(len(trials)),
        **{
            name: np.asarray([t.hyperparameters[name] for t in trials])
            for name in names
        },
        "seed": np.asarray([trial.seed for trial in trials]),
        "status": np.where(history.diverged, "diverged", over),
        "steps": history.steps.copy(),
        "train_loss": history.train_loss(),
        **{f"valid_{name}": history.final(name) for name in history.valid},
    }


def winner(trials: Sequence[Trial], table: dict[str, np.ndarray]) -> int | None:
    """Return the trial that is best on validation, or None if all diverged.

    The setting with the least mean validation loss over its seeds wins, and of its
    seeds the one with the least. Where every setting has a seed that diverged, the
    setting with the best seed wins.
    """
    losses = _worst_last(table["valid_loss"])
    settings = settings_of(trials)
    rows = min(settings, key=lambda rows: (losses[rows].mean(), losses[rows].min()))
    best = int(rows[np.argmin(losses[rows])])
    return best if np.isfinite(losses[best]) else None


def _worst_last(losses: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(losses), losses, np.inf)
