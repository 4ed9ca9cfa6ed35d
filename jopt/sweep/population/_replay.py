"""The hyperparameters that a trial of a population had, once more."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jopt.core import checked_class
from jopt.sweep._equality import same
from jopt.sweep.population._generation import Generation


@checked_class
@dataclasses.dataclass(frozen=True)
class Replay:
    """Train trials by the hyperparameters that one trial of a population had.

        policy = result.lineage.policy(result.best.trial)
        trials = [sweep.Trial.of(jopt.adamw, policy[0][1])]
        sweep.run(task, trials, seeds=5, population=sweep.Replay(policy))

    policy: of `Lineage.policy`: (first segment, setting) by segment, from 0 on. The
    sweep must be cut as the recorded one was: the same steps and segments. Its trials
    start with the first setting, and change at the recorded segments' ends; none copies
    another.

    Raises a ValueError if the policy does not begin with segment 0, or descends.
    """

    policy: Sequence[tuple[int, Mapping[str, Any]]]

    def __post_init__(self):
        starts = [start for start, _ in self.policy]
        if starts[:1] != [0] or sorted(set(starts)) != starts:
            raise ValueError(
                "Replay: policy must have ascending first segments from 0 on, got "
                f"{starts}; give what Lineage.policy returns."
            )

    def check(self, segments: int, settings: Sequence[Mapping[str, Any]]) -> None:
        """Raise a sentence if it does not fit trials of these settings."""
        if self.policy[-1][0] >= segments:
            raise ValueError(
                f"Replay: segments must be above {self.policy[-1][0]}, after which the "
                f"policy last changes, got {segments}; ask for as many as it was "
                "recorded with."
            )
        for setting in settings:
            if not same(dict(setting), dict(self.policy[0][1])):
                raise ValueError(
                    f"Replay: trials must start with {self.policy[0][1]}, got "
                    f"{setting}; make them by Trial.of(factory, policy[0][1])."
                )

    def reachable(self, setting: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return all settings of the policy: a trial must keep its structure."""
        return [dict(setting) for _, setting in self.policy]

    def due(self, segment: int, segments: int) -> bool:
        """Return whether the hyperparameters change after `segment`, counted from 0."""
        return any(start == segment + 1 for start, _ in self.policy)

    def step(
        self,
        values: np.ndarray,
        settings: Sequence[Mapping[str, Any]],
        random: np.random.Generator,
        segment: int,
    ) -> Generation:
        """Return the trials as they are, with the setting of the next segment."""
        now = [setting for start, setting in self.policy if start <= segment + 1][-1]
        return Generation(np.arange(len(values)), [dict(now) for _ in settings])
