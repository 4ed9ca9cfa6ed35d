"""A ladder of learning rates: its best rung, and where to try next."""

import dataclasses
import math
from typing import Literal, TypeAlias

import numpy as np

from jopt.studies._statistics import Optimum, optimum

MORE = 3  # rates in an extension
Edge: TypeAlias = Literal["no", "extended", "open"]


@dataclasses.dataclass
class Ladder:
    """Rates with their losses by seed; lower is better, infinite if it diverged.

    Attributes:
      losses: the losses of each rate, an array by seed.
      extensions: how often the ladder was extended.
    """

    losses: dict[float, np.ndarray] = dataclasses.field(default_factory=dict)
    extensions: int = 0

    @property
    def rates(self) -> np.ndarray:
        """The rates that were tried, ascending."""
        return np.sort(np.asarray(list(self.losses)))

    @property
    def by_seed(self) -> np.ndarray:
        """The losses, rates by seeds."""
        return np.stack([self.losses[rate] for rate in self.rates.tolist()])

    @property
    def means(self) -> np.ndarray:
        """The mean loss of each rate: infinite if one seed diverged."""
        return self.by_seed.mean(axis=1)

    @property
    def diverged(self) -> bool:
        """Whether every rate has a seed that diverged."""
        return not np.isfinite(self.means).any()

    @property
    def best(self) -> Optimum:
        """The best rate."""
        return optimum(self.rates, self.means)

    @property
    def factor(self) -> float:
        """The greatest factor between two neighbouring rates."""
        return float(np.exp(np.diff(np.log(self.rates)).max()))

    def beyond(self) -> list[float]:
        """Return rates beyond the end at which the best is; none if it is inside.

        The best counts as at an end if it is next to an end that is as good within the
        spread over the seeds. If every rate diverged, return lower ones.
        """
        rates, means = self.rates, self.means
        if len(rates) < 2:
            return []
        ways, row = range(1, MORE + 1), int(np.argmin(means))
        lower = [float(rates[0] / self.factor**k) for k in ways][::-1]
        if self.diverged or row == 0:
            return lower
        higher = [float(rates[-1] * self.factor**k) for k in ways]
        if row == len(rates) - 1:
            return higher
        losses = self.by_seed[row]
        limit = means[row] + (losses.std(ddof=1) if len(losses) > 1 else 0.0)
        if row == 1 and means[0] <= limit:
            return lower
        return higher if row == len(rates) - 2 and means[-1] <= limit else []

    def beside(self) -> list[float]:
        """Return the rates half a step below and above the best one."""
        if len(self.losses) < 2 or self.diverged:
            return []
        rate, half = float(self.rates[self.best.row]), math.sqrt(self.factor)
        return [rate / half, rate * half]

    @property
    def edge(self) -> Edge:
        """Whether the best rate is at an end, and if not, whether it was extended."""
        row = int(np.argmin(self.means))
        if len(self.losses) > 1 and row in (0, len(self.losses) - 1):
            return "open"
        return "extended" if self.extensions else "no"
