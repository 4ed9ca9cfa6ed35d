"""Where the values of hyperparameters come from: distributions and samplers."""

from jopt.sweep.space._distributions import (
    Choice,
    Distribution,
    Integers,
    LogInt,
    LogUniform,
    Uniform,
    choice,
    integers,
    is_several as is_several,
    log_int,
    log_uniform,
    uniform,
)
from jopt.sweep.space._samplers import Halton, LatinHypercube, Random, Sampler, Sobol

__all__ = [
    "Choice",
    "Distribution",
    "Halton",
    "Integers",
    "LatinHypercube",
    "LogInt",
    "LogUniform",
    "Random",
    "Sampler",
    "Sobol",
    "Uniform",
    "choice",
    "integers",
    "log_int",
    "log_uniform",
    "uniform",
]
