"""A threshold: end a setting whose metric is out of bounds."""

import dataclasses
import math

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
    is_judged,
)


@named_class
@dataclasses.dataclass(frozen=True, repr=False)
class ThresholdPruner(Pruner):
    """End a setting whose metric is below `lower` or above `upper`.

    The rule is Optuna's, except that a setting that diverges in the warmup ends too.

    Args:
      lower, upper: bounds of the sweep's validation metric, None for no bound; at least
        one of the two.
      n_warmup_steps: first segments that are not judged, at least 0.
      interval_steps: segments from one judgement to the next, at least 1.
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

    def check(self, segments: int, settings: int) -> None:
        check_one_metric(self)
        why = f"n_warmup_steps {self.n_warmup_steps}"
        first = self.n_warmup_steps + 1
        check_first(self, first, why, segments, "fewer n_warmup_steps")

    def keep(self, observations: Observations) -> np.ndarray:
        kept = going(observations)
        segment = observations.values.shape[1]
        if not is_judged(segment, self.n_warmup_steps, self.interval_steps):
            return kept
        lower = -math.inf if self.lower is None else self.lower
        upper = math.inf if self.upper is None else self.upper
        values = observations.sign * observations.values[:, -1]
        return kept & (values >= lower) & (values <= upper)
