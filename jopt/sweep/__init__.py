"""Many trainings in one compiled program."""

from jopt.sweep._array_files import write_arrays as write_arrays
from jopt.sweep._convolution import conv_general_dilated
from jopt.sweep._data import by_epoch, by_step
from jopt.sweep._extend import extend, resume, revive
from jopt.sweep._fast_convolutions import with_fast_convolutions
from jopt.sweep._folds import Folds
from jopt.sweep._front import Bound as Bound, nondominated as nondominated
from jopt.sweep._json import (
    decode as decode,
    encode as encode,
    in_words as in_words,
    plain as plain,
    shown as shown,
)
from jopt.sweep._kept_result import load, save_record as save_record
from jopt.sweep._local_sgd import Local, local_sgd
from jopt.sweep._predictions import named_batch as named_batch
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import Best, SweepResult, winner as winner
from jopt.sweep._run import run
from jopt.sweep._search import search
from jopt.sweep._shown_values import column_of as column_of
from jopt.sweep._supervised import Model as Model, Supervised
from jopt.sweep._task import Mode as Mode, Task, examples as examples
from jopt.sweep._trial import Setup, Trial, grid, sample
from jopt.sweep._whole_files import (
    file_name as file_name,
    read_file as read_file,
    remove as remove,
    replacing as replacing,
    user_caches as user_caches,
)
from jopt.sweep.engine import clear_programs, remembering as remembering
from jopt.sweep.population import (
    Generation,
    Lineage,
    Population,
    PopulationBasedTraining,
    Replay,
)
from jopt.sweep.proposals import CMAES, GP, NSGA2, TPE, Adaptive, Study, Told, stack
from jopt.sweep.pruners import (
    Hyperband,
    LossSpike,
    MedianPruner,
    Observations,
    PatientPruner,
    Pruner,
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
    Space,
    Uniform,
    check_names as check_names,
    choice,
    integers,
    log_int,
    log_uniform,
    uniform,
)
from jopt.sweep.store import PICTURES as PICTURES

__all__ = [
    "CMAES",
    "GP",
    "NSGA2",
    "TPE",
    "Adaptive",
    "Best",
    "Choice",
    "Distribution",
    "Folds",
    "Generation",
    "Halton",
    "Hyperband",
    "Integers",
    "LatinHypercube",
    "Lineage",
    "Local",
    "LogInt",
    "LogUniform",
    "LossSpike",
    "MedianPruner",
    "Observations",
    "PatientPruner",
    "Population",
    "PopulationBasedTraining",
    "Progress",
    "Pruner",
    "Random",
    "Replay",
    "Sampler",
    "Segment",
    "Setup",
    "Sobol",
    "Space",
    "Study",
    "SuccessiveHalving",
    "Supervised",
    "SweepResult",
    "Task",
    "ThresholdPruner",
    "Told",
    "Trial",
    "Uniform",
    "by_epoch",
    "by_step",
    "choice",
    "clear_programs",
    "conv_general_dilated",
    "extend",
    "grid",
    "integers",
    "load",
    "local_sgd",
    "log_int",
    "log_uniform",
    "resume",
    "revive",
    "run",
    "sample",
    "search",
    "stack",
    "uniform",
    "with_fast_convolutions",
]
