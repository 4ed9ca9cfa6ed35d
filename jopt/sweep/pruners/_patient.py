"""Patience: end a setting only once it has stopped improving."""

import dataclasses

import numpy as np

from jopt.core import check, named_class
from jopt.sweep.pruners._pruner import (
    Observations,
    Pruner,
    check_first,
    check_integers,
    check_numbers,
    check_one_metric,
    going,
)


@named_class
@dataclasses.dataclass(frozen=True, repr=False)
class PatientPruner(Pruner):
    """Let another rule end a setting only if that setting has not improved for a while.

        stalled if  min(earlier values) + min_delta  <  min(last patience + 1 values)

    A stalled setting is kept if the wrapped rule keeps it; every other setting is kept.
    If the rule has rungs, more settings may pass a rung than it keeps: those that still
    improve. The rule and its names are Optuna's.

    Args:
      wrapped_pruner: the other rule, by its own `metric` if it has one; None ends each
        stalled setting.
      patience: segments in a row without a better value that are tolerated, at least 0.
      min_delta: loss by which the recent best may exceed the earlier best before a
        setting counts as stalled, at least 0.
    """

    wrapped_pruner: Pruner | None
    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.wrapped_pruner, Pruner | None):
            raise ValueError(
                "PatientPruner: wrapped_pruner must be a pruner or None, got "
                f"{self.wrapped_pruner!r}."
            )
        check_integers(self, "patience", least=0)
        check_numbers(self, "min_delta")
        check(self, "min_delta", least=0)

    def check(self, segments: int, settings: int) -> None:
        check_one_metric(self)
        why = f"patience {self.patience} plus one to be better than, plus one"
        check_first(self, self.patience + 2, why, segments, "less patience")
        if self.wrapped_pruner is not None:
            self.wrapped_pruner.check(segments, settings)

    def for_sweep(self, segments: int, settings: int) -> "PatientPruner":
        self.check(segments, settings)
        if self.wrapped_pruner is None:
            return self
        wrapped = self.wrapped_pruner.for_sweep(segments, settings)
        return dataclasses.replace(self, wrapped_pruner=wrapped)

    def judges(self) -> list[Pruner]:
        wrapped = [] if self.wrapped_pruner is None else self.wrapped_pruner.judges()
        return [self, *wrapped]

    def keep(self, observations: Observations) -> np.ndarray:
        kept = going(observations)
        earlier, last = np.split(observations.values, [-self.patience - 1], axis=1)
        if not earlier.size:
            return kept
        stalled = earlier.min(axis=1) + self.min_delta < last.min(axis=1)
        if self.wrapped_pruner is not None:
            stalled &= ~self.wrapped_pruner.kept(observations)
        return kept & ~stalled
