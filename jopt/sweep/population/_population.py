"""Populations: the protocol that a sweep calls, and population-based training."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jopt.core import check, checked_class
from jopt.sweep.space import Choice, Distribution


class Generation(NamedTuple):
    """The run that each trial continues, and its hyperparameters from now on."""

    parents: np.ndarray  # int[trials]; a trial that keeps its run is its own parent
    settings: list[dict[str, Any]]  # one a trial, for the steps to come


class Population(Protocol):
    """A rule that decides, at the ends of segments, how trials continue."""

    def check(self, segments: int, settings: Sequence[Mapping[str, Any]]) -> None:
        """Raise a ValueError if the rule does not fit trials of these settings."""

    def reachable(self, setting: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return settings to check before the start.

        A trial that takes one of them continues from its state, so each of them must
        keep the trial's structure.
        """
        ...

    def due(self, segment: int, segments: int) -> bool:
        """Return whether the rule acts after `segment`, counted from 0."""
        ...

    def step(
        self,
        values: np.ndarray,
        settings: Sequence[Mapping[str, Any]],
        random: np.random.Generator,
        segment: int,
    ) -> Generation:
        """Return how the trials continue after `segment`.

        Args:
          values: the sweep's validation metric, float64[trials], lower is better: for
            mode "max" its sign is turned. Infinite where a trial diverged.
          settings: the hyperparameters of each trial until now.
          random: the generator to draw from.
          segment: the segment that has just ended, counted from 0.
        """
        ...


@checked_class
@dataclasses.dataclass(frozen=True)
class PopulationBasedTraining:
    """Let the worst trials copy the best, and perturb what they copied.

        k = min(ceil(quantile_fraction n), n // 2) of n trials
        exploit: each of the k worst continues from one of the k best, drawn uniformly,
                 with its parameters, optimizer state and hyperparameters
        explore: each hyperparameter of `mutations` is drawn again with
                 resample_probability, else multiplied by one of perturbation_factors
                 and clipped to its range

    Trials whose loss is not finite are all among the worst, and are never copied. If no
    loss is finite, every trial keeps its own run.

    Args:
      mutations: the hyperparameters that may change, by name, each with a distribution
        of `sweep.uniform`, `log_uniform`, `integers`, `log_int` or `choice`. An integer
        moves by at least 1, a choice to the value before or after. A multiplied 0 stays
        0 until it is drawn again: give a decay a `log_uniform`.
      quantile_fraction: share of the trials that copy, above 0, at most 0.5.
      resample_probability: probability of a new draw, in [0, 1].
      perturbation_factors: factors, above 0, all equally likely.
      perturbation_interval: segments between two generations, at least 1; there is none
        after the last segment.

    Raises:
      ValueError: if a number breaks its rule.

    Names, defaults and the rounding of k are Ray Tune's; there, a trial whose loss is
    NaN is never replaced.

    Jaderberg et al. 2017, https://arxiv.org/abs/1711.09846, Algorithm 1, with its
    truncation selection.
    """

    mutations: Mapping[str, Distribution]
    quantile_fraction: float = 0.25
    resample_probability: float = 0.25
    perturbation_factors: tuple[float, ...] = (1.2, 0.8)
    perturbation_interval: int = 1

    def __post_init__(self):
        if not self.mutations:
            raise ValueError(
                "PopulationBasedTraining: mutations must name at least one "
                "hyperparameter, got none; give each a distribution, such as "
                "learning_rate=sweep.log_uniform(1e-4, 1e-1)."
            )
        for name, distribution in self.mutations.items():
            if not isinstance(distribution, Distribution):
                raise ValueError(
                    f"PopulationBasedTraining: mutations must be distributions, got "
                    f"{distribution!r} for {name}; give sweep.choice(values) for a "
                    "list."
                )
        check(self, "quantile_fraction", above=0, most=0.5)
        check(self, "resample_probability", least=0, most=1)
        check(self, "perturbation_interval", least=1)
        factors = self.perturbation_factors
        if not factors or not all(0 < factor < math.inf for factor in factors):
            raise ValueError(
                "PopulationBasedTraining: perturbation_factors must be finite and "
                f"above 0, got {factors}."
            )

    def check(self, segments: int, settings: Sequence[Mapping[str, Any]]) -> None:
        """Raise a ValueError if it does not fit trials of these settings."""
        if len(settings) < 2:
            raise ValueError(
                "PopulationBasedTraining: trials must be at least 2, for one to copy "
                f"the other, got {len(settings)}."
            )
        if not any(self.due(segment, segments) for segment in range(segments)):
            raise ValueError(
                "PopulationBasedTraining: perturbation_interval must be below the "
                f"sweep's {segments} segments, got {self.perturbation_interval}: it "
                "would never act; ask for more segments."
            )
        for name, distribution in self.mutations.items():
            for setting in settings:
                if name not in setting:
                    raise ValueError(
                        f"PopulationBasedTraining: mutations must be hyperparameters "
                        f"of the trials ({', '.join(setting)}), got {name}."
                    )
                try:
                    distribution.clip(setting[name])
                except ValueError as error:
                    raise ValueError(
                        f"PopulationBasedTraining: {name} of a trial cannot be moved "
                        f"within its distribution: {error}"
                    ) from error

    def reachable(self, setting: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return settings that differ in one mutation, to check the structure.

        They cover all values of a choice, and two values of a range.
        """
        return [
            {**setting, name: value}
            for name, distribution in self.mutations.items()
            for value in (
                distribution.values
                if isinstance(distribution, Choice)
                else (distribution.at(0.0), distribution.at(0.75))
            )
        ]

    def due(self, segment: int, segments: int) -> bool:
        """Return whether it acts after `segment`, counted from 0."""
        return (segment + 1) % self.perturbation_interval == 0 < segments - segment - 1

    def step(
        self,
        values: np.ndarray,
        settings: Sequence[Mapping[str, Any]],
        random: np.random.Generator,
        segment: int = 0,
    ) -> Generation:
        """Return the next generation of the trials, whatever the segment.

        Args:
          values: losses, float[trials].
          settings: one a trial.
          random: drawn from only for the trials that copy, the worst last.
        """
        finite = np.isfinite(values)
        order = np.argsort(np.where(finite, values, np.inf), kind="stable")
        # Round, since 0.28 times 25 is above 7 in floating point.
        quantile = math.ceil(round(self.quantile_fraction * len(values), 9))
        quantile = min(quantile, len(values) // 2)
        best = order[: min(quantile, finite.sum())]
        worst = order[len(values) - max(quantile, (~finite).sum()) :]
        parents = np.arange(len(values))
        new = [dict(setting) for setting in settings]
        if len(best):
            for child in worst.tolist():
                parents[child] = parent = random.choice(best)
                new[child] = self._explore(settings[parent], random)
        return Generation(parents, new)

    def _explore(
        self, setting: Mapping[str, Any], random: np.random.Generator
    ) -> dict[str, Any]:
        changed = dict(setting)
        for name, distribution in self.mutations.items():
            if random.random() < self.resample_probability:
                changed[name] = distribution.at(random.random())
            elif isinstance(distribution, Choice):
                changed[name] = _neighbour(distribution, setting[name], random)
            else:
                factor = float(random.choice(self.perturbation_factors))
                changed[name] = _multiplied(distribution, setting[name], factor)
        return changed


def _multiplied(distribution: Distribution, value: Any, factor: float) -> Any:
    moved = distribution.clip(value * factor)
    if isinstance(moved, int) and moved == value:
        return distribution.clip(value + (factor > 1) - (factor < 1))
    return moved


def _neighbour(choice: Choice, value: Any, random: np.random.Generator) -> Any:
    """Return the value before or after; at an end, the only neighbour."""
    near = choice.beside(value)
    return near[int(random.choice(len(near)))] if near else value
