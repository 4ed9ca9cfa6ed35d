"""`SweepResult`: the table, the curves, the winner, and all parameters."""

import dataclasses
import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import FilePath, PyTree, argument_error, checked, is_integer, is_real
from jopt.sweep import _processes as processes
from jopt.sweep._history import History, lower_better, means, reduced
from jopt.sweep._plan import Keep
from jopt.sweep._predictions import predictions
from jopt.sweep._shown_values import shown_settings
from jopt.sweep._supervised import Model
from jopt.sweep._task import Mode, Task
from jopt.sweep._trial import Trial
from jopt.sweep.population import Lineage

if TYPE_CHECKING:
    import pandas
    from altair import HConcatChart


@dataclasses.dataclass(frozen=True)
class Best:
    """The winner on validation; its test metrics are computed once."""

    trial: int  # its row of the table
    hyperparameters: dict[str, Any]  # of its setting, by name
    seed: int  # the seed of the trial
    valid: dict[str, float]  # metrics on the validation set
    test: dict[str, float]  # metrics on the test set; empty without one
    fold: int = 0  # of the cross-validation


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """The results of a sweep's trials.

    Attributes:
      trials: the trials of every seed and fold.
      table: a NumPy array by column: `trial`, the hyperparameters, `seed`, `fold` if
        there are several, `status` (complete, pruned, diverged or interrupted), `steps`
        and metrics. A hyperparameter named like another column, such as `seed`, is
        `param_seed`; it is NaN or None in trials that do not have it. `steps` are those
        made, until the one that diverged. `train_loss` is the mean over as many last
        steps as a segment has, `train_...` the means of the steps' other scalars over
        the last segment. `valid_...` are the task's metrics at the end of that segment,
        the ranking one first; they are NaN if the trial diverged. With keep="best",
        they are those of the trial's best moment, and `best_step` has the steps made
        until then, 0 without one. With bounds, `within_bounds` is whether the means of
        the setting are within them. After a search with `confirm`, `confirmed` marks
        the confirming trials: only they can win.
      curves: the training loss before each step, float32[trials, steps], or float64 if
        JAX enables it; NaN where a trial made no step.
      valid: the validation metrics by segment, each [trials, segments], in that dtype.
      cooled: the validation metrics of cooled copies, like `valid`; NaN where no pruner
        judged any.
      train: means by segment of the other scalars that steps returned, like `valid`.
      valid_steps: the steps made before those metrics, int[segments].
      best: the winner, or None if every trial diverged or is out of bounds.
      info: versions, device, sizes and times of the run.
      lineage: for a population, which trial copied which, and with which settings.
    """

    trials: tuple[Trial, ...]
    table: dict[str, np.ndarray]
    curves: np.ndarray
    valid: dict[str, np.ndarray]
    train: dict[str, np.ndarray]
    valid_steps: np.ndarray
    best: Best | None
    info: dict[str, Any]
    lineage: Lineage | None = None
    cooled: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # For each structure: the trials' numbers, and their stacked models.
    _models: Sequence[tuple[np.ndarray, PyTree]] = dataclasses.field(
        default=(), repr=False
    )
    _settings: Sequence[np.ndarray] = dataclasses.field(default=(), repr=False)
    _history: History | None = dataclasses.field(default=None, repr=False)
    _task: Task | None = dataclasses.field(default=None, repr=False)  # the winner's

    @checked
    def params(self, trial: int) -> PyTree:
        """Return a trial's last parameters; if it diverged, those before it did.

        With keep="best", they are the parameters of its best moment, or the initial
        ones if it has none. If the task is not supervised learning, return what its
        `model` returns.
        """
        model = self.model(trial)
        return model.params if isinstance(model, Model) else model

    @checked
    def model_state(self, trial: int) -> PyTree:
        """Return a trial's model state, such as batch statistics and counters.

        It belongs to `params(trial)`. Raises ValueError if the task is not supervised
        learning.
        """
        model = self.model(trial)
        if not isinstance(model, Model):
            raise ValueError(
                f"The task {self.info['task']} has no model state; its model is "
                "result.model(trial)."
            )
        return model.model_state

    @checked
    def model(self, trial: int) -> PyTree:
        """Return what the task's `model` keeps of a trial, at the moment kept."""
        return self._row(trial)

    def has_models(self, trials: Sequence[int]) -> bool:
        """Return whether the result has the models of these trials."""
        known = [positions for positions, _ in self._models]
        return all(any(trial in rows for rows in known) for trial in trials)

    @checked
    def predict(self, batch: PyTree) -> PyTree:
        """Return the winner's predictions, by its task's `predict`.

            probabilities = sweep.load("sweeps/digits-1", task=digits()).predict(images)

        Args:
          batch: new examples, a tree of arrays like the task's, with the examples on
            the first axis. Arrays that `predict` does not read, such as labels, may be
            None. A single array is the first of a tuple, such as its inputs.

        Returns:
          The output of the task's `predict`, as NumPy arrays with the examples on the
          first axis.

        Raises:
          ValueError: there is no winner; the result was loaded without its task; the
            task has no `predict`; there are no examples, or their shapes differ from
            the task's.
        """
        if self.best is None:
            raise ValueError(
                "SweepResult.predict: the sweep must have a winner, and every trial "
                "diverged or is out of bounds; look at the table."
            )
        if self._task is None:
            raise ValueError(
                "SweepResult.predict: the result must have its task, and a record has "
                "none; load it with sweep.load(directory, task=...)."
            )
        return predictions(self._task, self.model(self.best.trial), batch)

    def settings(self) -> dict[str, np.ndarray]:
        """Return the table with one row a setting: means and spreads over its trials.

        A setting's trials are its seeds and folds. Each metric's column is followed by
        `..._min`, `..._max` and `..._std`, the sample standard deviation

            sqrt(sum((x - mean)^2) / (n - 1))

        which is NaN for one trial. If one trial of a setting diverged, the setting
        counts as diverged, and its metrics are NaN. `trial` is its best trial, `trials`
        their number.
        """
        ranks = ranked(self.table, self.metric, self.mode)
        metrics = [f"train_{key}" for key in self.train]
        metrics += [f"valid_{key}" for key in self.valid]
        table: dict[str, list[Any]] = {}
        for rows in self._settings:
            best = rows[int(np.argmin(ranks[rows]))]
            row: dict[str, Any] = {"trial": best, "trials": len(rows)}
            of_table = ("best_step", "within_bounds", "confirmed")
            names = [*self.info["space"], *(n for n in of_table if n in self.table)]
            row |= {name: self.table[name][best] for name in names}
            row["status"] = max(self.table["status"][rows], key=_STATUSES.index)
            for name in ("train_loss", *metrics):
                values = self.table[name][rows].astype(float)
                spread = values.std(ddof=1) if len(values) > 1 else np.nan
                row |= {name: values.mean(), f"{name}_std": spread}
                row |= {f"{name}_min": values.min(), f"{name}_max": values.max()}
            for name, value in row.items():
                table.setdefault(name, []).append(value)
        return {name: np.asarray(column) for name, column in table.items()}

    @property
    def front(self) -> list[int]:
        """The best trials of the settings that no other setting dominates.

            a dominates b  if  a is as good in every objective, and better in one

        Each objective is a setting's mean over its seeds and folds. Without objectives,
        the ranking metric is the only one. Only settings count whose trials were all
        trained to the end, are within the bounds, and are finite in every objective.
        The best by the first objective comes first. Settings that are equal in all
        objectives are all on the front.
        """
        return list(self.info["front"])

    def at_ends(self) -> dict[str, str]:
        """Return where the winner has the smallest or largest value that was tried.

        If the best value may lie beyond the end of a range, widen the range. A smallest
        value of 0 is left out, since few hyperparameters go below it.

        Returns:
          "smallest" or "largest", by the names of numeric hyperparameters with at least
          3 values; empty without a winner.
        """
        settings = [trial.hyperparameters for trial in self.trials]
        if self.lineage is not None:
            later = (event.new for event in self.lineage.events)
            settings = [*self.lineage.settings, *later]
        found: dict[str, str] = {}
        for name, best in self.best.hyperparameters.items() if self.best else ():
            values = [setting[name] for setting in settings if name in setting]
            if not all(map(is_real, values)) or len(set(values)) < 3:
                continue
            if best == max(values) < math.inf:
                found[name] = "largest"
            elif best == min(values) != 0:
                found[name] = "smallest"
        return found

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a pandas data frame (`pip install 'jopt[plots]'`)."""
        import pandas  # an extra, and slow to load

        return pandas.DataFrame(self.table)

    def best_as_dict(self) -> dict[str, Any] | None:
        """Return the winner for JSON, with hyperparameters as the table shows them."""
        if self.best is None:
            return None
        settings = shown_settings(self.trials)
        found = {**vars(self.best), "hyperparameters": settings[self.best.trial]}
        found["at_ends"] = self.at_ends()
        if self.info["objectives"]:
            found["front"] = [
                {
                    "trial": trial,
                    "hyperparameters": settings[trial],
                    "valid": {
                        n: float(self.table[f"valid_{n}"][trial]) for n in self.valid
                    },
                }
                for trial in self.front
            ]
        return found

    @checked
    def top(self, k: int) -> list[int]:
        """Return the best trials of the k best settings, the best first.

        The list is shorter if fewer settings were trained to the end, did not diverge,
        and are within the bounds.

        Args:
          k: an integer of at least 0.
        """
        if not is_integer(k) or k < 0:
            rule = "an integer of at least 0"
            raise argument_error("SweepResult.top", "k", k, rule, ValueError)
        values = eligible(self.table, self.metric, self.mode)
        values = np.where(self.table["status"] == "complete", values, np.inf)
        in_order = sorted(
            self._settings, key=lambda rows: (values[rows].mean(), values[rows].min())
        )
        trials = [int(rows[np.argmin(values[rows])]) for rows in in_order]
        return [trial for trial in trials if np.isfinite(values[trial])][:k]

    @property
    def metric(self) -> str:
        """The name of the validation metric that ranks the trials."""
        return self.info["metric"]

    @property
    def mode(self) -> Mode:
        """Which values of the metric are better: "min" or "max"."""
        return self.info["mode"]

    @checked
    def best_by(self, metric: str, mode: Mode = "min") -> int | None:
        """Return the trial that is best by any of the metrics, chosen like the winner.

        Return None if all trials diverged or are out of bounds.

        Args:
          metric: one of `valid`.
          mode: "min" or "max".

        Raises:
          ValueError: there is no such metric.
        """
        if metric not in self.valid:
            raise ValueError(
                f"SweepResult.best_by: metric must be one of {', '.join(self.valid)}, "
                f"got {metric!r}."
            )
        return winner(self._settings, self.table, metric, mode)

    @checked
    def plot(self, hyperparameter: str | None = None) -> "HConcatChart":
        """Return an Altair chart: the final metric, the loss curves, and the front.

        A notebook shows it; `result.plot().save("sweep.png")` writes a picture. The
        front shows the first two objectives of a sweep that has several.

        Args:
          hyperparameter: the column of numbers for the horizontal axis; by default the
            learning rate, or the first column with several values.

        Raises:
          ImportError: altair is not installed.
          ValueError: there is no such column, or it does not hold numbers.
        """
        from jopt import report

        return report.overview(self, hyperparameter)

    @checked
    def save(self, directory: FilePath, keep: int = 1) -> list[Path]:
        """Write trials.csv, curves.npz, sweep.json, best.json, pictures and a page.

        Unless the sweep keeps its record there, the record is written too; `load` reads
        it. Without altair and vl-convert-python there are no pictures and no
        report.html.

        Args:
          directory: made if it does not exist.
          keep: number of best settings whose models are written too, as orbax
            checkpoints `best/1`, `best/2`, ... If the result lacks one of them, as
            after `load`, none is written, and those that are there stay.

        Returns:
          The files written. In a job of several processes the first one writes them.

        Raises:
          FileExistsError: the directory has the record of another sweep.
          OSError: the directory cannot be written.
        """
        from jopt import report

        if processes.index() > 0:
            return []
        return report.save(self, Path(directory), keep)

    def _row(self, trial: int) -> PyTree:
        last = len(self.trials) - 1
        if not is_integer(trial):
            raise TypeError(
                f"SweepResult: trial must be an integer from 0 to {last}, got "
                f"{trial!r}."
            )
        for positions, models in self._models:
            if trial in positions:
                take = operator.itemgetter(int(np.flatnonzero(positions == trial)[0]))
                return jax.tree.map(jnp.asarray, jax.tree.map(take, models))
        if 0 <= trial <= last and not self._models:
            raise KeyError(
                f"The parameters of trial {trial} are not at hand: a record that is "
                "loaded has none; give load the task for the winner's, or resume."
            )
        if 0 <= trial <= last:
            raise KeyError(
                f"The parameters of trial {trial} are not at hand: it had ended before "
                "the sweep was resumed, or the result was loaded with its task, which "
                "gives the winner's alone."
            )
        raise KeyError(f"There is no trial {trial}; they are 0 to {last}.")


_STATUSES = ("complete", "interrupted", "pruned", "diverged")


def table_of(
    trials: Sequence[Trial],
    columns: dict[str, np.ndarray],
    history: History,
    keep: Keep = "last",
) -> dict[str, np.ndarray]:
    """Return the columns of a sweep's table.

    Args:
      trials: the trials of every seed and fold.
      columns: the columns of the hyperparameters.
      history: the history of the trials.
      keep: "last" or "best", the moment of the validation metrics.
    """
    folds = np.asarray([trial.fold for trial in trials])
    shown, moment = history.final, {}
    if keep == "best":
        shown, moment = history.at_best, {"best_step": history.best_steps()}
    return {
        "trial": np.arange(len(trials)),
        **columns,
        "seed": np.asarray([trial.seed for trial in trials]),
        **({"fold": folds} if folds.any() else {}),
        "status": history.statuses(),
        "steps": history.steps.copy(),
        "train_loss": history.train_loss(),
        **{f"train_{k}": history.final(v) for k, v in history.train.items()},
        **moment,
        **{f"valid_{k}": shown(v) for k, v in history.valid.items()},
    }


def ranked(table: dict[str, np.ndarray], metric: str, mode: Mode) -> np.ndarray:
    """Return each trial's validation metric, lower is better; infinite without one.

    The values are float64, since means over seeds are formed of them.
    """
    values = lower_better(table[f"valid_{metric}"].astype(float), mode)
    return np.where(np.isfinite(values), values, np.inf)


def eligible(table: dict[str, np.ndarray], metric: str, mode: Mode) -> np.ndarray:
    """Return `ranked`, but infinite out of bounds and for trials that cannot win."""
    fits = np.logical_and(
        table.get("within_bounds", True), table.get("confirmed", True)
    )
    return np.where(fits, ranked(table, metric, mode), np.inf)


def winner(
    settings: Sequence[np.ndarray],
    table: dict[str, np.ndarray],
    metric: str = "loss",
    mode: Mode = "min",
) -> int | None:
    """Return the best trial on validation; None if all diverged or are out of bounds.

    The setting with the best mean of the metric wins, and its best trial is the winner.
    If every setting has a trial that diverged, the setting with the best trial wins. A
    pruned one wins only if all others diverged. A trial out of bounds never wins.

    Args:
      settings: the trials of each setting.
      table: as `table_of` returns it.
      metric, mode: the ranking metric, and which of its values are better.
    """
    losses, pruned = eligible(table, metric, mode), table["status"] == "pruned"
    least = reduced(np.minimum, losses, settings)
    last = reduced(np.logical_and, pruned, settings) | (least == np.inf)
    # The last key counts first, and the first of equals wins.
    rows = settings[np.lexsort((least, means(losses, settings), last))[0]]
    best = int(rows[np.argmin(losses[rows])])
    return best if np.isfinite(losses[best]) else None
