"""Successive halving: at each rung the best go on, for longer."""

import dataclasses

import numpy as np

from jopt.core import named_class
from jopt.sweep.pruners._observations import Reports
from jopt.sweep.pruners._pruner import (
    Pruner,
    Rung,
    check_first,
    check_integers,
    going,
    lowest,
)


@named_class
@dataclasses.dataclass(frozen=True)
class SuccessiveHalving(Pruner):
    """Keep the best 1/eta of the settings at each rung, for eta times as long.

        rung i = 0, 1, ...: after report r eta^(s + i) the best
        max(1, floor(n / eta^(i + 1))) of the n settings of the sweep go on

    By the value of that report alone, the first of equal ones before the later. How
    many go on depends on n, not on how many diverged before the rung.

    min_resource: r, reports, at least 1. reduction_factor: eta, an integer of at least
    2. min_early_stopping_rate: s, at least 0; each one more puts the rungs eta times
    later.

    81 settings, 81 reports and eta = 3 take 297 reports in place of 6561.

    Optuna's pruner judges a trial by those that came to the rung before it; this one
    when all have come: in one program nobody is late, and nobody goes on for having
    come early.

    Jamieson and Talwalkar 2016, https://proceedings.mlr.press/v51/jamieson16.html; as
    Li et al. 2018, https://arxiv.org/abs/1810.05934, Algorithm 1.
    """

    min_resource: int = 1
    reduction_factor: int = 4
    min_early_stopping_rate: int = 0

    def __post_init__(self) -> None:
        check_integers(self, "min_resource", least=1)
        check_integers(self, "reduction_factor", least=2)
        check_integers(self, "min_early_stopping_rate", least=0)

    def check(self, reports: int, settings: int) -> None:
        why = f"min_resource {self.min_resource}"
        if self.min_early_stopping_rate:
            why += f" times {self.reduction_factor}^{self.min_early_stopping_rate}"
        fix = "a lower min_resource or min_early_stopping_rate"
        check_first(self, self._report(0), why, reports, fix)
        if settings < self.reduction_factor:
            raise ValueError(
                f"SuccessiveHalving: reduction_factor {self.reduction_factor} needs at "
                f"least {self.reduction_factor} settings, of which one goes on, got "
                f"{settings}; give more settings, or lower reduction_factor."
            )

    def rungs(self, reports: int, settings: int) -> list[Rung]:
        found: list[Rung] = []
        came = settings
        while came > 1 and (report := self._report(len(found))) < reports:
            kept = max(1, settings // self.reduction_factor ** (len(found) + 1))
            found.append(Rung(0, report, came, kept))
            came = kept
        return found

    def keep(self, reports: Reports) -> np.ndarray:
        among = going(reports)
        settings, report = reports.values.shape
        for rung in self.rungs(report + 1, settings):
            if rung.report == report:
                return lowest(reports.values[:, -1], among, rung.kept)
        return among

    def _report(self, rung: int) -> int:
        power = self.min_early_stopping_rate + rung
        return self.min_resource * self.reduction_factor**power
