"""What a sweep reports to its caller after each block and each segment."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a sweep is, after each block."""

    segment: int  # in progress, counted from 1
    segments: int  # of the sweep
    alive: int  # trials in training
    trials: int  # of the sweep
    best: dict[str, Any] | None  # row of the best trial at the last segment's end
    trial_steps: int  # steps made so far, over all trials
    trial_steps_left: int  # steps left if no more trials diverge or are pruned
    seconds: float  # since this run began to train, without compiling
    last_block: bool  # whether this is the segment's last block
    trial_steps_this_run: int  # steps made in this run; fewer after a resume
    batch: int = 1  # of a search, in progress, counted from 1
    batches: int = 1  # at most
    convolves: bool = False  # whether a model has convolutions of XLA's own

    @property
    def trial_steps_per_second(self) -> float:
        """The speed of this run."""
        return self.trial_steps_this_run / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """The time that the remaining steps take at this speed; infinite at first."""
        speed = self.trial_steps_per_second
        return self.trial_steps_left / speed if speed else math.inf


class Segment(NamedTuple):
    """The trials at the end of a segment; plain NumPy arrays, all copies."""

    number: int  # counted from 1
    segments: int  # of the sweep
    step: int  # steps of the trials still in training
    table: dict[str, np.ndarray]  # as of the result
    valid: dict[str, np.ndarray]  # validation metrics, each float32[trials, segments]
    curves: np.ndarray  # float32[trials, steps], training losses
    alive: np.ndarray  # bool[trials], neither diverged nor pruned
    best: dict[str, Any] | None  # row of the table
    valid_steps: np.ndarray  # int[segments], steps made before each value of `valid`
