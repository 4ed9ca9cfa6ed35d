"""Optuna: the trials of a sweep in a study, which its dashboard opens."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jopt.core import shown
from jopt.interop._tracker import Tracker, plain
from jopt.sweep import Segment


class _Run(NamedTuple):
    setting: dict[str, Any]
    distributions: dict[str, Any]
    attributes: dict[str, Any]
    seen: dict[int, dict[str, float]]  # by step


class OptunaTrials(Tracker):
    """Add the trials of a sweep to a study of Optuna as they end; a callback.

        study = optuna.create_study(storage="sqlite:///study.db", study_name="digits")
        sweep.run(task, trials, callbacks=[jopt.interop.OptunaTrials(study)])
        # then: optuna-dashboard sqlite:///study.db

    A trial has its hyperparameters, the metric by step as intermediate values, and as
    user attributes its number, seed, fold, status and the other metrics. One that
    diverged is pruned at its last finite value, so that samplers avoid its region.
    Numbers are of the range between the least and the greatest of the sweep, other
    values are choices. A trial that the study has, by `name`, number, seed and
    hyperparameters, is not added again: a resumed sweep completes its study.

    Args:
      study: whose directions fit the metrics.
      metrics: of validation, one for each direction; by default the one that ranks.
      name: of the sweep in the study.

    Raises:
      ImportError: Optuna is not installed.
      TypeError: `study` is no study.
      ValueError: there is not one metric for each direction.
    """

    def __init__(
        self, study: Any, metrics: Sequence[str] | None = None, name: str = "sweep"
    ):
        super().__init__()
        try:
            import optuna  # an extra
        except ImportError as error:
            raise ImportError(
                "OptunaTrials needs optuna, which is not installed: "
                "pip install 'jopt[search]'."
            ) from error
        if not (hasattr(study, "directions") and hasattr(study, "add_trial")):
            raise TypeError(
                "OptunaTrials: study must be a study of Optuna, as optuna.create_study "
                f"returns, got {shown(study)}."
            )
        count = 1 if metrics is None else len(metrics)
        if len(study.directions) != count:
            raise ValueError(
                f"OptunaTrials: metrics must be one for each of the "
                f"{len(study.directions)} directions of the study, got "
                f"{shown(metrics)}."
            )
        self._optuna, self._study, self._name = optuna, study, name
        self._metrics = None if metrics is None else list(metrics)
        self._there: list[tuple[Any, ...]] | None = None

    def begin(self, number: int, setting: dict[str, Any], now: Segment) -> _Run:
        if self._metrics is None:
            self._metrics = [next(iter(now.valid))]
        own = {n: v for n, v in setting.items() if n not in ("seed", "fold")}
        fold = setting.get("fold", 0)
        attributes = {"sweep": self._name, "trial": number}
        attributes |= {"seed": setting["seed"], "fold": fold}
        ranges = {n: self._distribution(now.table[n]) for n in own}
        return _Run(own, ranges, attributes, {})

    def log(self, run: _Run, step: int, values: dict[str, float]) -> None:
        run.seen[step] = values

    def end(self, run: _Run, status: str) -> None:
        if self._there is None:
            trials = self._study.get_trials(deepcopy=False)
            self._there = [_identity(t.user_attrs, t.params) for t in trials]
        if _identity(run.attributes, run.setting) in self._there:
            return
        assert self._metrics is not None
        names = [f"valid/{metric}" for metric in self._metrics]
        last: dict[str, float] = next(reversed(run.seen.values()), {})
        complete = status == "complete" and all(name in last for name in names)
        states = self._optuna.trial.TrialState
        of_one = {s: v[names[0]] for s, v in run.seen.items() if names[0] in v}
        others = {name: value for name, value in last.items() if name not in names}
        trial = self._optuna.create_trial(
            state=states.COMPLETE if complete else states.PRUNED,
            values=[last[name] for name in names] if complete else None,
            params=run.setting,
            distributions=run.distributions,
            user_attrs={**run.attributes, "status": status, **others},
            intermediate_values=of_one if len(names) == 1 else {},
        )
        self._study.add_trial(trial)

    def _distribution(self, column: np.ndarray) -> Any:
        """Return the distribution of a column of hyperparameters."""
        make = self._optuna.distributions
        values = [plain(value) for value in column]
        values = [v for v in values if v is not None and v == v]
        if any(isinstance(value, (bool, str)) for value in values):
            return make.CategoricalDistribution(sorted(set(values), key=str))
        low, high = min(values), max(values)
        log = low > 0 and high >= 10 * low
        whole = all(isinstance(value, int) for value in values)
        kind = make.IntDistribution if whole else make.FloatDistribution
        return kind(low, high, log=log)


def _identity(attributes: dict[str, Any], setting: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells whether two trials of a study are the same one of a sweep."""
    names = ("sweep", "trial", "seed", "fold")
    return *(attributes.get(name) for name in names), sorted(setting.items())
