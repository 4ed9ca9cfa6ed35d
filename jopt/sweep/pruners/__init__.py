"""Rules that end hopeless settings early: pure functions of what all have reported."""

from jopt.sweep.pruners._halving import SuccessiveHalving
from jopt.sweep.pruners._hyperband import Hyperband
from jopt.sweep.pruners._median import MedianPruner
from jopt.sweep.pruners._observations import Reports
from jopt.sweep.pruners._patient import PatientPruner
from jopt.sweep.pruners._pruner import Pruner, Rung
from jopt.sweep.pruners._spike import LossSpike
from jopt.sweep.pruners._threshold import ThresholdPruner

__all__ = [
    "Hyperband",
    "LossSpike",
    "MedianPruner",
    "PatientPruner",
    "Pruner",
    "Reports",
    "Rung",
    "SuccessiveHalving",
    "ThresholdPruner",
]
