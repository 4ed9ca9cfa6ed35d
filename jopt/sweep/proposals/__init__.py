"""Samplers that learn from results, and studies that ask them for settings."""

from jopt.sweep.proposals._adaptive import CMAES, GP, NSGA2, TPE, Adaptive
from jopt.sweep.proposals._proposals import (
    Earlier as Earlier,
    Proposals as Proposals,
    check_setting as check_setting,
    parameters as parameters,
    quiet as quiet,
    setting_of as setting_of,
)
from jopt.sweep.proposals._study import Study, Told, stack

__all__ = ["CMAES", "GP", "NSGA2", "TPE", "Adaptive", "Study", "Told", "stack"]
