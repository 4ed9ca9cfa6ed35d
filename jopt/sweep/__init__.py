"""Many trainings in one compiled program."""

from jopt.sweep.combine import Combined as Combined, combine as combine
from jopt.sweep.live import LivePlot as LivePlot
from jopt.sweep.population.generation import (
    Generation as Generation,
    Population as Population,
)
from jopt.sweep.population.lineage import Lineage as Lineage
from jopt.sweep.population.replay import Replay as Replay
from jopt.sweep.population.training import (
    PopulationBasedTraining as PopulationBasedTraining,
)
from jopt.sweep.progress import Progress as Progress, Segment as Segment
from jopt.sweep.pruners import (
    Hyperband as Hyperband,
    LossSpike as LossSpike,
    MedianPruner as MedianPruner,
    PatientPruner as PatientPruner,
    Pruner as Pruner,
    SuccessiveHalving as SuccessiveHalving,
    ThresholdPruner as ThresholdPruner,
)
from jopt.sweep.rates.range_test import lr_range as lr_range
from jopt.sweep.rates.result import LearningRateRange as LearningRateRange
from jopt.sweep.reports import Reports as Reports
from jopt.sweep.result import Best as Best, SweepResult as SweepResult
from jopt.sweep.run import resume as resume, run as run
from jopt.sweep.space.names import (
    Choice as Choice,
    Distribution as Distribution,
    Integers as Integers,
    LogInt as LogInt,
    LogUniform as LogUniform,
    Uniform as Uniform,
    choice as choice,
    integers as integers,
    log_int as log_int,
    log_uniform as log_uniform,
    uniform as uniform,
)
from jopt.sweep.space.samplers import (
    Halton as Halton,
    LatinHypercube as LatinHypercube,
    Random as Random,
    Sampler as Sampler,
    Sobol as Sobol,
)
from jopt.sweep.space.sampling import sample as sample
from jopt.sweep.task import Task as Task
from jopt.sweep.trial import Setup as Setup, Trial as Trial, grid as grid
