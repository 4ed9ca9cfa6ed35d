"""The median rule: end a setting that was never as good as the others are now."""

import dataclasses

import numpy as np

from jopt.core import named_class
from jopt.sweep.pruners._pruner import (
    Observations,
    Pruner,
    check_first,
    check_integers,
    going,
    is_judged,
)


@named_class
@dataclasses.dataclass(frozen=True, repr=False)
class MedianPruner(Pruner):
    """End a setting whose best value so far is above the median of the others.

        ended if  min(own values up to segment k)  >  median(others' values at k)

    The others are all settings but the judged one and those that diverged. An ended
    setting keeps its last value, and stays among the others. So about half of the
    settings are left at the end, and a setting that ends later has fallen behind those
    that ended before.

    Optuna takes the median over complete trials. In a sweep that trains all settings at
    once, no trial is complete before the end, and a median over those still training
    would halve them at every segment. If all others are complete, and none was ended,
    the two rules agree.

    Args:
      n_startup_trials: other settings that the sweep must have before it ends any, at
        least 0.
      n_warmup_steps: first segments that are not judged, at least 0.
      interval_steps: segments from one judgement to the next, at least 1.
      n_min_trials: least number of other settings with a value at the segment, at least
        1; with fewer, a setting is not judged.

    Golovin et al. 2017 (which compare with running means),
    https://doi.org/10.1145/3097983.3098043.
    """

    n_startup_trials: int = 5
    n_warmup_steps: int = 0
    interval_steps: int = 1
    n_min_trials: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        check_integers(self, "n_startup_trials", "n_warmup_steps", least=0)
        check_integers(self, "interval_steps", "n_min_trials", least=1)

    def check(self, segments: int, settings: int) -> None:
        why = f"n_warmup_steps {self.n_warmup_steps}"
        first = self.n_warmup_steps + 1
        check_first(self, first, why, segments, "fewer n_warmup_steps")
        for name in ("n_startup_trials", "n_min_trials"):
            if settings <= getattr(self, name):
                raise ValueError(
                    f"MedianPruner: {name} {getattr(self, name)} asks for as many "
                    f"settings besides the one that is judged, but the sweep has "
                    f"{settings} in all; give more settings, or lower {name}."
                )

    def keep(self, observations: Observations) -> np.ndarray:
        kept = going(observations)
        settings, segment = observations.values.shape
        if settings <= self.n_startup_trials or not is_judged(
            segment, self.n_warmup_steps, self.interval_steps
        ):
            return kept
        stands = _last_values(observations.values)
        others = np.isfinite(stands).sum() - 1
        if others < self.n_min_trials:
            return kept
        judged = np.flatnonzero(kept)
        best = observations.values[judged].min(axis=1)
        kept[judged] = best <= _medians_of_others(stands)[judged]
        return kept


def _last_values(values: np.ndarray) -> np.ndarray:
    """Return each setting's last value, float64[settings]; infinite if it diverged."""
    observed = ~np.isnan(values)
    last = values.shape[1] - 1 - np.argmax(observed[:, ::-1], axis=1)
    found = values[np.arange(len(values)), last]
    return np.where(np.isfinite(found), found, np.inf)


def _medians_of_others(values: np.ndarray) -> np.ndarray:
    """Return, for each finite value, the median of the other finite values."""
    others = np.isfinite(values).sum() - 1
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    rank = np.empty(len(values), int)
    rank[order] = np.arange(len(values))
    # Without a setting's own value, all values above it move down by one rank.
    below, above = ((others - 1) // 2, others // 2)
    return (ordered[below + (below >= rank)] + ordered[above + (above >= rank)]) / 2
