"""A threshold: end what is outside of given bounds."""

import dataclasses
import math

import numpy as np

from jopt.core import check, named_class
from jopt.sweep.pruners._observations import Reports
from jopt.sweep.pruners._pruner import (
    Pruner,
    check_first,
    check_integers,
    check_numbers,
    going,
    is_judged,
)


@named_class
@dataclasses.dataclass(frozen=True)
class ThresholdPruner(Pruner):
    """End a setting whose report is below `lower` or above `upper`.

    lower, upper: validation loss, or None for no bound; at least one of the two.
    n_warmup_steps: first reports that are not judged, at least 0. interval_steps:
    reports from one judgement to the next, at least 1.

    As Optuna's, but for one thing: a setting that diverged is out in the warmup too.
    """

    lower: float | None = None
    upper: float | None = None
    n_warmup_steps: int = 0
    interval_steps: int = 1

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise ValueError(
                "ThresholdPruner: lower or upper must be given, got neither."
            )
        bounds = {"lower": self.lower, "upper": self.upper}
        check_numbers(self, *(name for name, b in bounds.items() if b is not None))
        check(self, "lower", most=math.inf if self.upper is None else self.upper)
        check(self, "upper", least=-math.inf)
        check_integers(self, "n_warmup_steps", least=0)
        check_integers(self, "interval_steps", least=1)

    def check(self, reports: int, settings: int) -> None:
        why = f"n_warmup_steps {self.n_warmup_steps}"
        first = self.n_warmup_steps + 1
        check_first(self, first, why, reports, "fewer n_warmup_steps")

    def keep(self, reports: Reports) -> np.ndarray:
        kept = going(reports)
        report = reports.values.shape[1]
        if not is_judged(report, self.n_warmup_steps, self.interval_steps):
            return kept
        lower = -math.inf if self.lower is None else self.lower
        upper = math.inf if self.upper is None else self.upper
        values = reports.values[:, -1]
        return kept & (values >= lower) & (values <= upper)
