"""The importance of each hyperparameter, by Optuna's evaluators."""

import importlib.util
import warnings
from typing import Any

import numpy as np

from jopt.report._record import Record

ENOUGH = 10  # least number of settings; with fewer, a ranking is noise
TOP = 5  # settings that PED-ANOVA's best quantile needs
MOST = 128  # most settings for fANOVA, whose time grows with their square


def importance(record: Record) -> dict[str, Any]:
    """Return the importance of each varying hyperparameter for the ranking metric.

    A setting's value is the mean over its trials of the metric's last value, or the
    mean's log if all are positive. A setting that diverged gets the worst value of the
    others.

    Returns:
      {"names", "top", "ped_anova", "fanova"}: shares that sum to 1, `fanova` None
      without scikit-learn, and `top` the share of settings that PED-ANOVA calls the
      best; or {"sentence"}, which says why there is no importance.

    PED-ANOVA: Watanabe et al. 2023, https://arxiv.org/abs/2304.10255. fANOVA: Hutter et
    al. 2014, https://proceedings.mlr.press/v32/hutter14.html.
    """
    names = record.varying
    settings, values = _values(record)
    if len(names) < 2:
        return {"sentence": "Importance compares hyperparameters: vary at least two."}
    if len(settings) < ENOUGH or len(np.unique(values)) < 2:
        return {
            "sentence": f"Importance needs at least {ENOUGH} settings with different "
            f"losses; {len(settings)} came back with one."
        }
    if importlib.util.find_spec("optuna") is None:
        return {"sentence": "Importance needs Optuna: pip install 'jopt[report]'."}
    forest = importlib.util.find_spec("sklearn") is not None
    chosen = np.random.default_rng(0).permutation(len(settings))[:MOST]
    return {
        "names": names,
        "top": _top(len(settings)),
        "ped_anova": _evaluated(record, names, settings, values, forest=False),
        "fanova": _evaluated(record, names, settings[chosen], values[chosen], True)
        if forest
        else None,
    }


def _values(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Return each setting's first row and value; empty if every setting diverged."""
    losses = record.table[record.metric]
    rows = record.settings()
    means = np.asarray([losses[found].astype(float).mean() for found in rows])
    finite = np.isfinite(means)
    # A setting that never began has no loss, but has not diverged.
    began = np.asarray([record.table["steps"][found].min() > 0 for found in rows])
    began |= np.asarray(["diverged" in record.table["status"][found] for found in rows])
    if not finite.any():
        return np.zeros(0, int), np.zeros(0)
    means = -means if record.mode == "max" else means
    means = np.where(finite, means, means[finite].max())
    if means.min() > 0:
        means = np.log(means)
    return np.asarray([found[0] for found in rows])[began], means[began]


def _top(settings: int) -> float:
    return min(0.5, max(0.1, TOP / settings))


def _evaluated(
    record: Record,
    names: list[str],
    rows: np.ndarray,
    values: np.ndarray,
    forest: bool,
) -> list[float] | None:
    import optuna  # an extra, and slow to load
    from optuna import importance as evaluators

    spread = {name: _spread(record.table[name]) for name in names}
    distributions = {name: _distribution(column) for name, column in spread.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # no log line for the study
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some versions warn: experimental
            study = optuna.create_study()
            study.add_trials(
                optuna.create_trial(
                    params={name: spread[name][row].item() for name in names},
                    distributions=distributions,
                    value=float(value),
                )
                for row, value in zip(rows.tolist(), values, strict=True)
            )
            if forest:
                evaluator = evaluators.FanovaImportanceEvaluator(seed=0)
            else:
                top = _top(len(rows))
                evaluator = evaluators.PedAnovaImportanceEvaluator(target_quantile=top)
            found = evaluators.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return [float(found.get(name, 0)) for name in names]


def _spread(column: np.ndarray) -> np.ndarray:
    """Return a column, as logarithms if its values span decades.

    Zero then lies a decade below the least positive value.
    """
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        return column.astype(str)  # categories; NaN means that a trial has no value
    positive = column[column > 0] if column.dtype.kind in "iuf" else column[:0]
    if not len(positive) or positive.max() <= 30 * positive.min() or column.min() < 0:
        return column
    return np.log10(np.where(column > 0, column, positive.min() / 10))


def _distribution(column: np.ndarray) -> Any:
    """Return an Optuna distribution that contains all values of a hyperparameter."""
    from optuna import distributions as known

    values = sorted(set(column.tolist()))
    if column.dtype.kind not in "iuf":
        return known.CategoricalDistribution(values)
    floats = column.dtype.kind == "f"
    kind = known.FloatDistribution if floats else known.IntDistribution
    return kind(values[0], values[-1])
