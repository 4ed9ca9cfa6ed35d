"""What a pruner is: a rule that says, after each report, which settings go on."""

import abc
from typing import NamedTuple

import numpy as np

from jopt.core import check, is_integer, is_real
from jopt.sweep.pruners._observations import Reports


class Rung(NamedTuple):
    """A report after which a known number of settings goes on."""

    bracket: int  # 0 where there is one
    report: int  # counted from 1
    settings: int  # that come to it, unless some diverge before
    kept: int  # of those


class Pruner(abc.ABC):
    """Say after each report which settings go on.

    A pruner is a frozen dataclass of plain numbers and has no memory: the same reports
    give the same answer, so a resumed sweep prunes as an uninterrupted one. Everything
    is counted in reports (one at the end of each segment), and lower values are better.
    Whatever the rule, a setting that diverged does not go on.
    """

    @abc.abstractmethod
    def check(self, reports: int, settings: int) -> None:
        """Raise a ValueError in a sentence unless the rule can end a setting early.

        reports: segments of the sweep. settings: combinations of hyperparameters,
        whatever the number of their seeds and folds.
        """

    @abc.abstractmethod
    def keep(self, reports: Reports) -> np.ndarray:
        """Return who goes on after the last column of `reports`, bool[settings].

        Nobody goes on who had ended. A sweep does not ask after its last report: who
        came that far is complete.
        """

    def rungs(self, reports: int, settings: int) -> list[Rung]:
        """Return the rungs before the end of a sweep; none for a rule without rungs."""
        return []

    def for_sweep(self, reports: int, settings: int) -> "Pruner":
        """Check the rule against a sweep and return it with nothing left to "auto"."""
        self.check(reports, settings)
        return self


def going(reports: Reports) -> np.ndarray:
    """Return who is still training and has just reported a number, bool[settings]."""
    return reports.alive & np.isfinite(reports.values[:, -1])


def lowest(values: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """Return where the `count` lowest values are, bool[settings]; the first of equals.

    among: bool[settings], those that count. Fewer than `count` of them are all taken.
    """
    order = np.argsort(np.where(among, values, np.inf), kind="stable")
    found = np.zeros(len(values), bool)
    found[order[:count]] = True
    return found & among


def is_judged(report: int, n_warmup_steps: int, interval_steps: int) -> bool:
    """Return whether a rule with a warmup and an interval looks at this report."""
    since = report - n_warmup_steps - 1
    return since >= 0 and since % interval_steps == 0


def check_integers(self: Pruner, *fields: str, least: int) -> None:
    """Raise a ValueError in a sentence unless the fields are integers from `least`."""
    for field in fields:
        value = getattr(self, field)
        if not is_integer(value):
            title = type(self).__name__
            raise ValueError(f"{title}: {field} must be an integer, got {value!r}.")
    check(self, *fields, least=least)


def check_numbers(self: Pruner, *fields: str) -> None:
    """Raise a ValueError in a sentence unless the fields are numbers."""
    for field in fields:
        value = getattr(self, field)
        if not is_real(value):
            title = type(self).__name__
            raise ValueError(f"{title}: {field} must be a number, got {value!r}.")


def check_first(self: Pruner, first: int, why: str, reports: int, fix: str) -> None:
    """Raise a ValueError in a sentence unless report `first` comes before the last."""
    if first >= reports:
        raise ValueError(
            f"{type(self).__name__}: the first report after which it can end a setting "
            f"is {first} ({why}), but the sweep has {reports} reports, one a segment; "
            f"use more than {first} segments, or {fix}."
        )
