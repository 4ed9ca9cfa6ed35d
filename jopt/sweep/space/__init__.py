"""Distributions, spaces and samplers of hyperparameters."""

from jopt.sweep.space._distributions import (
    Distribution,
    Integers,
    LogInt,
    LogUniform,
    Uniform,
    integers,
    log_int,
    log_uniform,
    uniform,
)
from jopt.sweep.space._factories import check_names as check_names
from jopt.sweep.space._samplers import Halton, LatinHypercube, Random, Sampler, Sobol
from jopt.sweep.space._space import Choice, Space, choice, is_branching as is_branching

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
    "Space",
    "Uniform",
    "choice",
    "integers",
    "log_int",
    "log_uniform",
    "uniform",
]
