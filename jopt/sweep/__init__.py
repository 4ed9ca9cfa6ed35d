"""Many trainings in one compiled program."""

from jopt.sweep.engine import Progress as Progress, run as run
from jopt.sweep.result import Best as Best, SweepResult as SweepResult
from jopt.sweep.task import Task as Task
from jopt.sweep.trial import Trial as Trial, grid as grid
