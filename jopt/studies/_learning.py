"""Learning curves: does a trial of a sweep over- or underfit?"""

from jopt.core import checked
from jopt.report import LearningCurves, Record, learning_curves as curves_of
from jopt.sweep import SweepResult


@checked
def learning_curves(result: SweepResult, trial: int | None = None) -> LearningCurves:
    """Return a trial's training and validation losses, and a verdict.

        found = studies.learning_curves(result)
        print(found.verdict, found.sentence)

    Args:
      result: the result of a sweep of at least three segments.
      trial: the trial's number; by default the winner.

    Returns:
      `LearningCurves`, which states the rule of the verdict.

    Raises:
      ValueError: there is no winner and no trial is given; the task has no training or
        validation loss; the trial diverged, or was trained for fewer than three
        segments.
    """
    if trial is None:
        if result.best is None:
            raise ValueError(
                "learning_curves: trial must be given where a sweep has no winner, got "
                "None; every trial diverged or is out of bounds."
            )
        trial = result.best.trial
    return curves_of(Record.of(result), trial)
