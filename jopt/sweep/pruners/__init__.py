"""Rules that end hopeless settings early: pure functions of the observations so far."""

from jopt.sweep.pruners._halving import SuccessiveHalving
from jopt.sweep.pruners._hyperband import Hyperband
from jopt.sweep.pruners._median import MedianPruner
from jopt.sweep.pruners._patient import PatientPruner
from jopt.sweep.pruners._pruner import Observations, Pruner, Rung, going as going
from jopt.sweep.pruners._spike import LossSpike
from jopt.sweep.pruners._threshold import ThresholdPruner

__all__ = [
    "Hyperband",
    "LossSpike",
    "MedianPruner",
    "Observations",
    "PatientPruner",
    "Pruner",
    "Rung",
    "SuccessiveHalving",
    "ThresholdPruner",
]
