"""What a sweep tells its caller: after each block, and at the end of each segment."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a sweep is, after each block."""

    segment: int  # under way, counted from 1
    segments: int  # of the sweep
    alive: int  # trials
    trials: int  # of the sweep
    best: dict[str, Any] | None  # row of the table: the best when a segment last ended
    trial_steps: int  # made so far
    trial_steps_left: int  # to be made, if nothing more diverges or is pruned
    seconds: float  # since this run began to train, without compiling
    last_block: bool  # of the segment
    trial_steps_this_run: int  # of those made, in these seconds: fewer after a resume
    batch: int = 1  # of a search, under way, counted from 1
    batches: int = 1  # at most

    @property
    def trial_steps_per_second(self) -> float:
        """The speed of this run."""
        return self.trial_steps_this_run / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """The time that the steps left take at this speed; infinite at first."""
        speed = self.trial_steps_per_second
        return self.trial_steps_left / speed if speed else math.inf


class Segment(NamedTuple):
    """The trials at the end of a segment; plain NumPy arrays, all copies."""

    number: int  # counted from 1
    segments: int  # of the sweep
    step: int  # steps made by trials that were trained throughout
    table: dict[str, np.ndarray]  # as of the result
    valid: dict[str, np.ndarray]  # validation metrics, each float32[trials, segments]
    curves: np.ndarray  # float32[trials, steps], training losses
    alive: np.ndarray  # bool[trials], neither diverged nor pruned
    best: dict[str, Any] | None  # row of the table
    valid_steps: np.ndarray  # int[segments], steps made before each `valid`
