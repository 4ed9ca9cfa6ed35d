"""Spikes: end what has lost in training what it had learnt."""

import dataclasses

import numpy as np

from jopt.core import check, named_class
from jopt.sweep.pruners._observations import Reports
from jopt.sweep.pruners._pruner import (
    Pruner,
    check_first,
    check_integers,
    check_numbers,
    going,
)


@named_class
@dataclasses.dataclass(frozen=True)
class LossSpike(Pruner):
    """End a setting whose training loss stays far above its own best.

        best = min(training losses up to the report)
        spike if  loss - best > (factor - 1) |best|  and  loss - best > min_rise |first|
        ended after `reports` spikes in a row

    For a positive loss the first is `loss > factor best`. A training loss is the mean
    over the segment. Each setting is compared with itself alone, so the rule is safe
    beside any other, and one bad segment is forgiven.

    factor: above 1. reports: in a row, at least 1. min_rise: share of the first
    report's training loss that is no spike, at least 0: where a model has learnt its
    examples by heart, four times nothing is nothing. n_warmup_steps: first reports
    that are no spikes, at least 0.
    """

    factor: float = 4.0
    reports: int = 2
    min_rise: float = 0.01
    n_warmup_steps: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, "factor", "min_rise")
        check(self, "factor", above=1)
        check_integers(self, "reports", least=1)
        check(self, "min_rise", least=0)
        check_integers(self, "n_warmup_steps", least=0)

    def check(self, reports: int, settings: int) -> None:
        first = max(1, self.n_warmup_steps) + self.reports
        why = (
            f"reports {self.reports} after {max(1, self.n_warmup_steps)} to start from"
        )
        check_first(self, first, why, reports, "fewer reports or n_warmup_steps")

    def keep(self, reports: Reports) -> np.ndarray:
        kept = going(reports)
        rows = np.flatnonzero(kept)
        losses = reports.train_losses[rows]
        best = np.minimum.accumulate(losses, axis=1)
        rise = (self.factor - 1) * np.abs(best)
        spikes = losses - best > np.maximum(rise, self.min_rise * np.abs(losses[:, :1]))
        last = spikes[:, self.n_warmup_steps :][:, -self.reports :]
        if last.shape[1] == self.reports:
            kept[rows] = ~last.all(axis=1)
        return kept
