"""Rules that end hopeless settings early: pure functions of what all have reported."""

from jopt.sweep.pruners._pruner import Pruner as Pruner, Rung as Rung
from jopt.sweep.pruners.halving import SuccessiveHalving as SuccessiveHalving
from jopt.sweep.pruners.hyperband import Hyperband as Hyperband
from jopt.sweep.pruners.median import MedianPruner as MedianPruner
from jopt.sweep.pruners.patient import PatientPruner as PatientPruner
from jopt.sweep.pruners.spike import LossSpike as LossSpike
from jopt.sweep.pruners.threshold import ThresholdPruner as ThresholdPruner
