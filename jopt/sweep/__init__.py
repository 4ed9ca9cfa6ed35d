"""Many trainings in one compiled program."""

from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import Best, SweepResult
from jopt.sweep._run import resume, run
from jopt.sweep._sampling import sample
from jopt.sweep._task import Task, examples as examples
from jopt.sweep._trees import write_arrays as write_arrays
from jopt.sweep._trial import (
    Setup,
    Trial,
    check_names as check_names,
    column_of as column_of,
    grid,
)
from jopt.sweep._wording import shown as shown
from jopt.sweep.population import (
    Generation,
    Lineage,
    Population,
    PopulationBasedTraining,
    Replay,
)
from jopt.sweep.pruners import (
    Hyperband,
    LossSpike,
    MedianPruner,
    PatientPruner,
    Pruner,
    Reports,
    SuccessiveHalving,
    ThresholdPruner,
)
from jopt.sweep.space import (
    Choice,
    Distribution,
    Halton,
    Integers,
    LatinHypercube,
    LogInt,
    LogUniform,
    Random,
    Sampler,
    Sobol,
    Uniform,
    choice,
    integers,
    log_int,
    log_uniform,
    uniform,
)

__all__ = [
    "Best",
    "Choice",
    "Distribution",
    "Generation",
    "Halton",
    "Hyperband",
    "Integers",
    "LatinHypercube",
    "Lineage",
    "LogInt",
    "LogUniform",
    "LossSpike",
    "MedianPruner",
    "PatientPruner",
    "Population",
    "PopulationBasedTraining",
    "Progress",
    "Pruner",
    "Random",
    "Replay",
    "Reports",
    "Sampler",
    "Segment",
    "Setup",
    "Sobol",
    "SuccessiveHalving",
    "SweepResult",
    "Task",
    "ThresholdPruner",
    "Trial",
    "Uniform",
    "choice",
    "grid",
    "integers",
    "log_int",
    "log_uniform",
    "resume",
    "run",
    "sample",
    "uniform",
]
