"""Compare training and validation losses to detect over- and underfitting."""

import dataclasses
from typing import Literal, TypeAlias

import numpy as np

from jopt.report._record import Record

Verdict: TypeAlias = Literal["overfitting", "underfitting", "neither"]
GAP, SLOPE = 0.1, 0.02
FEWEST = 3  # least number of segments


class NoCurves(ValueError):
    """A trial's losses are too few, or not finite, for a verdict."""


@dataclasses.dataclass(frozen=True)
class LearningCurves:
    """A trial's losses by segment, and a verdict on them.

        gap = (V - T) / |V|,   slope = (V - V') / |V'|

    T and V are the means of the training and the validation loss over the last third of
    the segments, T' and V' those over the third before.

        overfitting   if gap > 0.1 and slope > 0.02: the validation loss rises and is
        above
                      the training loss
        underfitting  if gap <= 0.1, and either slope < -0.02: the loss still falls; or
                      T is above the loss of a baseline
        neither       otherwise

    The rule uses losses only. At the end of its training, a model that is too small for
    its data looks like one that has learned everything; a baseline tells them apart.
    Dropout, augmentation and mixup raise the training loss, and hide a gap.

    Attributes:
      trial: its number.
      steps: the steps made by the end of each segment.
      train: the mean training loss of the later half of each segment.
      valid: the validation loss at its end.
      gap, slope: as above.
      verdict: "overfitting", "underfitting" or "neither".
      sentence: the verdict with its numbers, and what to try.
    """

    trial: int
    steps: np.ndarray  # int[segments]
    train: np.ndarray  # float64[segments]
    valid: np.ndarray  # float64[segments]
    gap: float
    slope: float
    verdict: Verdict
    sentence: str


def learning_curves(record: Record, trial: int) -> LearningCurves:
    """Return the learning curves of a trial.

    Raises:
      ValueError: there is no such trial; the task has no training or validation loss;
        the trial diverged, or was trained for fewer than three segments.
    """
    title, count = "learning_curves", len(record.table["trial"])
    if not 0 <= trial < count:
        raise ValueError(f"{title}: trial must be from 0 to {count - 1}, got {trial}.")
    if "loss" not in record.valid:
        raise NoCurves(
            f"{title}: the task's evaluate must return a loss, beside which the "
            f"training loss stands, got {', '.join(record.valid) or 'nothing'}."
        )
    losses = record.curves[trial].astype(float)
    starts = np.asarray([0, *record.valid_steps[:-1]])
    halves = zip((starts + record.valid_steps) // 2, record.valid_steps, strict=True)
    train = np.asarray([losses[a:b].mean() if a < b else np.nan for a, b in halves])
    valid = record.valid["loss"][trial].astype(float)
    made = np.isfinite(train) & np.isfinite(valid)
    if record.table["status"][trial] == "diverged" or made.sum() < FEWEST:
        raise NoCurves(
            f"{title}: trial must have finite losses of at least {FEWEST} segments, "
            f"got {int(made.sum())} of trial {trial}; ask the sweep for more segments, "
            "or for another trial."
        )
    steps, train, valid = record.valid_steps[made], train[made], valid[made]
    third = len(steps) // 3
    last, before = slice(-third, None), slice(-2 * third, -third)
    level, past = valid[last].mean(), valid[before].mean()
    gap = float((level - train[last].mean()) / _size(level))
    slope = float((level - past) / _size(past))
    beaten = min(record.baselines("loss").values(), default=np.inf)
    verdict = _verdict(gap, slope, train[last].mean() > beaten)
    sentence = _sentence(trial, verdict, gap, slope)
    return LearningCurves(trial, steps, train, valid, gap, slope, verdict, sentence)


def _size(loss: float) -> float:
    return max(abs(loss), np.finfo(float).tiny)


def _verdict(gap: float, slope: float, below_baseline: bool) -> Verdict:
    if gap > GAP and slope > SLOPE:
        return "overfitting"
    if gap <= GAP and (slope < -SLOPE or below_baseline):
        return "underfitting"
    return "neither"


def _sentence(trial: int, verdict: Verdict, gap: float, slope: float) -> str:
    risen = "rose" if slope > 0 else "fell"
    where = (
        f"Trial {trial}: in the last third, validation loss {risen} by "
        f"{abs(slope):.1%}, and its training loss is {abs(gap):.1%} "
        f"{'lower' if gap >= 0 else 'higher'}"
    )
    advice = {
        "overfitting": "it overfits. Try fewer steps, weight decay, dropout, "
        "augmentation, a smaller model or more data.",
        "underfitting": "it underfits. Try more steps, a higher rate, a larger "
        "model or less regularization.",
        "neither": "it neither over- nor underfits.",
    }
    return f"{where}: {advice[verdict]}"
