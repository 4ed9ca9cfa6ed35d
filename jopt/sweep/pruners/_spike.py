"""Loss spikes: end a setting whose training loss has risen far above its best."""

import dataclasses

import numpy as np

from jopt.core import check, named_class
from jopt.sweep.pruners._pruner import (
    Observations,
    Pruner,
    check_first,
    check_integers,
    check_numbers,
    going,
)


@named_class
@dataclasses.dataclass(frozen=True, repr=False)
class LossSpike(Pruner):
    """End a setting whose training loss stays far above its own best.

        best = min(training losses up to the segment)
        spike if  loss - best > (factor - 1) |best|  and  loss - best > min_rise |first|
        ended after spikes in `segments` segments in a row

    For a positive loss the first condition is `loss > factor best`. A training loss is
    the mean over the segment. Each setting is compared only with itself, so the rule
    combines safely with any other. One bad segment alone ends nothing. A `metric` has
    no effect.

    Args:
      factor: above 1.
      segments: in a row, at least 1.
      min_rise: share of the first segment's training loss by which a loss may rise
        without
        a spike, at least 0. It matters once a model has memorized its examples: then a
        multiple of the best loss is still close to 0.
      n_warmup_steps: first segments that are never spikes, at least 0.
    """

    factor: float = 4.0
    segments: int = 2
    min_rise: float = 0.01
    n_warmup_steps: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, "factor", "min_rise")
        check(self, "factor", above=1)
        check_integers(self, "segments", least=1)
        check(self, "min_rise", least=0)
        check_integers(self, "n_warmup_steps", least=0)

    def check(self, segments: int, settings: int) -> None:
        start = max(1, self.n_warmup_steps)
        first = start + self.segments
        why = f"segments {self.segments} after {start} to start from"
        check_first(
            self, first, why, segments, "fewer segments in a row or n_warmup_steps"
        )

    def judges(self) -> list[Pruner]:
        return []

    def keep(self, observations: Observations) -> np.ndarray:
        kept = going(observations)
        rows = np.flatnonzero(kept)
        losses = observations.train_losses[rows]
        best = np.minimum.accumulate(losses, axis=1)
        rise = (self.factor - 1) * np.abs(best)
        spikes = losses - best > np.maximum(rise, self.min_rise * np.abs(losses[:, :1]))
        last = spikes[:, self.n_warmup_steps :][:, -self.segments :]
        if last.shape[1] == self.segments:
            kept[rows] = ~last.all(axis=1)
        return kept
