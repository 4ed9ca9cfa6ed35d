"""`Pruner`: a rule that decides after each segment which settings are trained on."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from jopt.core import check, is_integer, is_real
from jopt.sweep._task import Mode

Metric: TypeAlias = str | Mapping[str, Mode] | None


class Observations(NamedTuple):
    """The values of all settings so far, at the end of each segment.

    A setting's value is the mean over its seeds and folds. If one of its trials
    diverged, the value is infinite from then on.
    """

    values: np.ndarray  # float64[settings, segments], lower is better; NaN once ended
    train_losses: np.ndarray  # float64[settings, segments], means over the segments
    alive: np.ndarray  # bool[settings], still training
    metrics: Mapping[str, np.ndarray] = {}  # float64[settings, segments], by name
    sign: int = 1  # -1 if the values are the negated metric, for "max"
    modes: Mapping[str, Mode] = {}  # of the metrics whose mode the sweep knows
    cooled: Mapping[str, np.ndarray] = {}  # like `metrics`, for cooled copies

    def by(
        self, metric: Metric, mode: Mode | None = None, cooled: bool = False
    ) -> "Observations":
        """Return the observations with the values of another metric.

        Args:
          metric: its name; None for the present values; or several names, each with its
            mode, for their `sorted_by_fronts`.
          mode: "min" or "max"; by default the one in `modes`, else "min".
          cooled: whether to use the values of cooled copies, in the segments that have
            some.
        """
        if isinstance(metric, Mapping):
            parts = [self.by(*item, cooled).values for item in metric.items()]
            return self._replace(values=sorted_by_fronts(np.stack(parts)), sign=1)
        if metric is None and not cooled:
            return self
        sign = -1 if (mode or self.modes.get(metric or "")) == "max" else 1
        if metric is None:  # the metric of the values, which comes first
            metric, sign = next(iter(self.metrics)), self.sign
        found, ended = sign * self.metrics[metric], np.isnan(self.values)
        if cooled and metric in self.cooled:
            copies = sign * self.cooled[metric]
            found = np.where(np.isnan(copies).all(axis=0), found, copies)
        worst = np.where(ended, np.nan, np.where(np.isfinite(found), found, np.inf))
        return self._replace(values=worst, sign=sign)


class Rung(NamedTuple):
    """A segment after which a known number of settings is trained on."""

    bracket: int  # 0 if there is only one
    segment: int  # counted from 1
    settings: int  # settings that reach it, unless some diverge before
    kept: int  # settings that it keeps


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Pruner(abc.ABC):
    """Decide after each segment which settings are trained on.

    A pruner is a frozen dataclass of plain numbers and has no memory: the same
    observations give the same answer, so a resumed sweep prunes as an uninterrupted
    one. Everything is counted in segments (each ends with one observation), and lower
    values are better. Whatever the rule, a setting that diverged has ended.

    Every pruner takes these keywords:

    Args:
      metric: the name of the validation metric to judge by; by default the sweep's. For
        several, a dict with "min" or "max" for each, such as {"accuracy": "max",
        "bytes": "min"}. Then the value is their `sorted_by_fronts`: settings that no
        other dominates come first, then those that only these dominate, and so on. On
        one front, the best mean rank comes first.
      mode: "min" or "max"; by default that of the sweep's metric or objective of this
        name, else "min".
      cooled: judge a copy in place of each trial. The copy is trained on while its
        learning rate decays linearly to 0 over this share of the steps made so far,
        such as 0.1, and is then discarded. Copies are made at rungs, or after each
        segment by a rule without rungs, and cost one compile in all. None judges the
        trials themselves.
    """

    _: dataclasses.KW_ONLY
    metric: Metric = None
    mode: Mode | None = None
    cooled: float | None = None

    def __repr__(self) -> str:
        """Return the rule's constructor call, with the keywords that were given."""
        shown = [
            f"{field.name}={value!r}"
            for field in sorted(
                dataclasses.fields(self), key=lambda field: bool(field.kw_only)
            )
            if (value := getattr(self, field.name)) is not None or not field.kw_only
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    @abc.abstractmethod
    def check(self, segments: int, settings: int) -> None:
        """Check that the rule can end a setting early.

        Args:
          segments: the segments of the sweep.
          settings: the number of settings, whatever the number of their seeds and
            folds.

        Raises:
          ValueError: the rule cannot; the message says what to change.
        """

    @abc.abstractmethod
    def keep(self, observations: Observations) -> np.ndarray:
        """Return which settings are kept after the last segment, bool[settings].

        An ended setting is not kept. A sweep does not call this after its last segment:
        a setting that reaches it is complete.
        """

    def rungs(self, segments: int, settings: int) -> list[Rung]:
        """Return the rungs before the end of a sweep; none for a rule without rungs."""
        return []

    def for_sweep(self, segments: int, settings: int) -> "Pruner":
        """Check the rule for a sweep, and return it with each "auto" resolved."""
        self.check(segments, settings)
        return self

    def judges(self) -> "list[Pruner]":
        """Return the rules in this one that judge by a validation metric."""
        return [self]

    def kept(self, observations: Observations) -> np.ndarray:
        """Return `keep` for the values of the pruner's own metric, bool[settings]."""
        cooled = self.cooled is not None
        return self.keep(observations.by(self.metric, self.mode, cooled))

    @property
    def metrics(self) -> list[str]:
        """The names of the pruner's own metrics; empty for the sweep's."""
        if self.metric is None:
            return []
        return [self.metric] if isinstance(self.metric, str) else list(self.metric)


def going(observations: Observations) -> np.ndarray:
    """Return which settings train and have a finite last value, bool[settings]."""
    return observations.alive & np.isfinite(observations.values[:, -1])


def lowest(values: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """Return where the `count` lowest values are, bool[settings]; ties go to the first.

    `among`, bool[settings], selects the candidates; if there are fewer, all are taken.
    """
    order = np.argsort(np.where(among, values, np.inf), kind="stable")
    found = np.zeros(len(values), bool)
    found[order[:count]] = True
    return found & among


def sorted_by_fronts(values: np.ndarray) -> np.ndarray:
    """Return one value for several metrics, by segment: the front, and the mean rank.

        front = 1 + the largest front of the settings that dominate this one, or 1
        value = front + (mean over the metrics of the rank among the n settings) / n

    A rank is from 0 to n - 1; equal values share their mean rank. A setting that is
    infinite in one metric gets infinity.

    Args:
      values: lower is better, float64[metrics, settings, segments]; NaN where a setting
        had ended.

    Returns:
      float64[settings, segments].
    """
    found = np.where(np.isnan(values[0]), np.nan, np.inf)
    for segment in range(values.shape[2]):
        rows = np.flatnonzero(np.isfinite(values[:, :, segment]).all(axis=0))
        points = values[:, rows, segment].T
        fronts = np.zeros(len(rows))
        # In this order a row comes after all that dominate it.
        order = np.lexsort(points.T[::-1])
        for place, row in enumerate(order):
            before = order[:place]
            below = (points[before] <= points[row]).all(axis=1)
            below &= (points[before] < points[row]).any(axis=1)
            fronts[row] = 1 + fronts[before[below]].max(initial=0)
        ends = [
            [
                np.searchsorted(np.sort(column), column, side)
                for side in ("left", "right")
            ]
            for column in points.T
        ]
        ranks = (np.sum(ends, axis=1) - 1) / 2  # [metrics, settings]
        found[rows, segment] = fronts + ranks.mean(axis=0) / max(len(rows), 1)
    return found


def check_one_metric(self: Pruner) -> None:
    """Raise ValueError if a rule that compares values has several metrics."""
    if isinstance(self.metric, Mapping):
        title = type(self).__name__
        raise ValueError(
            f"{title}: metric must be one, whose values it compares, got "
            f"{self.metric!r}; SuccessiveHalving, Hyperband and MedianPruner take "
            "several."
        )


def is_judged(segment: int, n_warmup_steps: int, interval_steps: int) -> bool:
    """Return whether a rule with a warmup and an interval judges this segment."""
    since = segment - n_warmup_steps - 1
    return since >= 0 and since % interval_steps == 0


def check_integers(self: Pruner, *fields: str, least: int) -> None:
    """Raise ValueError unless the fields are integers of at least `least`."""
    for field in fields:
        value = getattr(self, field)
        if not is_integer(value):
            title = type(self).__name__
            raise ValueError(f"{title}: {field} must be an integer, got {value!r}.")
    check(self, *fields, least=least)


def check_numbers(self: Pruner, *fields: str) -> None:
    """Raise ValueError unless the fields are numbers."""
    for field in fields:
        value = getattr(self, field)
        if not is_real(value):
            title = type(self).__name__
            raise ValueError(f"{title}: {field} must be a number, got {value!r}.")


def check_first(self: Pruner, first: int, why: str, segments: int, fix: str) -> None:
    """Raise ValueError unless segment `first` comes before the last."""
    if first >= segments:
        raise ValueError(
            f"{type(self).__name__}: the first segment after which it can end a "
            f"setting is {first} ({why}), but the sweep has {segments} segments; use "
            f"more than {first} segments, or {fix}."
        )
