"""Populations: trials that copy the weights of better ones."""

from jopt.sweep.population._lineage import (
    Event as Event,
    Lineage,
    Replay,
    event_as_dict as event_as_dict,
    event_from_dict as event_from_dict,
)
from jopt.sweep.population._population import (
    Generation,
    Population,
    PopulationBasedTraining,
)

__all__ = ["Generation", "Lineage", "Population", "PopulationBasedTraining", "Replay"]
