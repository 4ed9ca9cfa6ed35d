"""Populations: trials that copy the weights of better ones."""

from jopt.sweep.population._generation import Generation, Population
from jopt.sweep.population._lineage import (
    Event,
    Lineage,
    event_as_dict,
    event_from_dict,
)
from jopt.sweep.population._population_based_training import PopulationBasedTraining
from jopt.sweep.population._replay import Replay

__all__ = [
    "Event",
    "Generation",
    "Lineage",
    "Population",
    "PopulationBasedTraining",
    "Replay",
    "event_as_dict",
    "event_from_dict",
]
