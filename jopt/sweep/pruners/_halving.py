"""Successive halving: at each rung the best settings are trained on, for longer."""

import dataclasses

import numpy as np

from jopt.core import named_class
from jopt.sweep.pruners._pruner import (
    Observations,
    Pruner,
    Rung,
    check_first,
    check_integers,
    going,
    lowest,
)


@named_class
@dataclasses.dataclass(frozen=True, repr=False)
class SuccessiveHalving(Pruner):
    """Keep the best 1/eta of the settings at each rung, for eta times as long.

        rung i = 0, 1, ...: after segment r eta^(s + i) the best
        max(1, floor(n / eta^(i + 1))) of the n settings of the sweep are kept

    The value of that segment alone decides, and of equal ones the first. The number
    kept depends on n, not on how many diverged before the rung.

    81 settings, 81 segments and eta = 3 take 297 segments in place of 6561.

    Optuna's pruner compares a trial with those that reached the rung before it. This
    one compares all settings at the rung at once, so arriving early is no advantage.

    Args:
      min_resource: r, in segments, at least 1.
      reduction_factor: eta, an integer of at least 2.
      min_early_stopping_rate: s, at least 0; one more puts the rungs eta times later.

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

    def check(self, segments: int, settings: int) -> None:
        why = f"min_resource {self.min_resource}"
        if self.min_early_stopping_rate:
            why += f" times {self.reduction_factor}^{self.min_early_stopping_rate}"
        fix = "a lower min_resource or min_early_stopping_rate"
        check_first(self, self._segment(0), why, segments, fix)
        if settings < self.reduction_factor:
            raise ValueError(
                f"SuccessiveHalving: reduction_factor {self.reduction_factor} needs at "
                f"least {self.reduction_factor} settings, of which one goes on, got "
                f"{settings}; give more settings, or lower reduction_factor."
            )

    def rungs(self, segments: int, settings: int) -> list[Rung]:
        found: list[Rung] = []
        came = settings
        while came > 1 and (segment := self._segment(len(found))) < segments:
            kept = max(1, settings // self.reduction_factor ** (len(found) + 1))
            found.append(Rung(0, segment, came, kept))
            came = kept
        return found

    def keep(self, observations: Observations) -> np.ndarray:
        among = going(observations)
        settings, segment = observations.values.shape
        for rung in self.rungs(segment + 1, settings):
            if rung.segment == segment:
                return lowest(observations.values[:, -1], among, rung.kept)
        return among

    def _segment(self, rung: int) -> int:
        power = self.min_early_stopping_rate + rung
        return self.min_resource * self.reduction_factor**power
