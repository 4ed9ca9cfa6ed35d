"""What a population is asked, and what it answers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Generation(NamedTuple):
    """Whose run each trial goes on with, and with which hyperparameters."""

    parents: np.ndarray  # int[trials], itself for a trial that keeps its own
    settings: list[dict[str, Any]]  # one a trial, for the steps to come


class Population(Protocol):
    """What a sweep asks at the ends of its segments; trials go on as it says."""

    def check(self, segments: int, settings: Sequence[Mapping[str, Any]]) -> None:
        """Raise a sentence if it does not fit trials of these settings."""

    def reachable(self, setting: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return settings to try before the start: a trial that comes to have one must
        keep its structure, for its state goes on.
        """
        ...

    def due(self, segment: int, segments: int) -> bool:
        """Return whether it acts after `segment`, counted from 0, of so many."""
        ...

    def step(
        self,
        values: np.ndarray,
        settings: Sequence[Mapping[str, Any]],
        random: np.random.Generator,
        segment: int,
    ) -> Generation:
        """Return how the trials go on after `segment`.

        values: validation losses, float64[trials]; infinity where a trial diverged.
        settings: one a trial, as trained so far.
        """
        ...
