"""Hyperband: brackets of successive halving, from early rungs to none, side by side."""

import dataclasses
from typing import Literal

import numpy as np

from jopt.core import named_class
from jopt.sweep.pruners._pruner import (
    Observations,
    Pruner,
    Rung,
    check_integers,
    going,
    lowest,
)


@named_class
@dataclasses.dataclass(frozen=True, repr=False)
class Hyperband(Pruner):
    """Share the settings among brackets that halve from early on, later, or never.

        s_max = floor(log_eta(R / min_resource))
        bracket b = 0 ... s_max, with s = s_max - b:
            n = ceil((s_max + 1) eta^s / (s + 1)) settings, halved s times:
            after segment floor(R eta^(i - s)) the best max(1, floor(n / eta^(i + 1)))
            are kept, i = 0 ... s - 1

    All brackets train at once, and each compares its own settings only. A sweep of any
    number of settings shares them in proportion to those n.

    R = 81 and eta = 3 make the brackets (81, 1), (34, 3), (15, 9), (8, 27), (5, 81) of
    settings and segments before the first halving. Rungs count down from R, as in the
    paper; Optuna's count up from min_resource. Both agree if R is min_resource times a
    power of eta. The last bracket trains all its settings to the end, as a safeguard
    against rungs that come too early.

    Args:
      min_resource: segments before which no setting is ended, at least 1.
      max_resource: R, in segments, or "auto" for the sweep's number of segments.
      reduction_factor: eta, an integer of at least 2.

    Li et al. 2018, https://jmlr.org/papers/v18/16-558.html, Algorithm 1.
    """

    min_resource: int = 1
    max_resource: int | Literal["auto"] = "auto"
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        check_integers(self, "min_resource", least=1)
        check_integers(self, "reduction_factor", least=2)
        if isinstance(self.max_resource, str):
            if self.max_resource != "auto":
                raise ValueError(
                    'Hyperband: max_resource must be an integer or "auto", got '
                    f"{self.max_resource!r}."
                )
            return
        check_integers(self, "max_resource", least=1)
        if self.max_resource < self.min_resource * self.reduction_factor:
            raise ValueError(
                f"Hyperband: max_resource {self.max_resource} leaves nothing to halve: "
                f"it must be at least min_resource {self.min_resource} times "
                f"reduction_factor {self.reduction_factor}; lower one of the two."
            )

    def check(self, segments: int, settings: int) -> None:
        if not isinstance(self.max_resource, str) and self.max_resource > segments:
            raise ValueError(
                f"Hyperband: max_resource {self.max_resource} is more than the "
                f"{segments} segments of the sweep; use {self.max_resource} segments, "
                'or max_resource "auto".'
            )
        least = self.min_resource * self.reduction_factor
        if segments < least:
            raise ValueError(
                f"Hyperband: {segments} segments leave nothing to halve: min_resource "
                f"{self.min_resource} times reduction_factor "
                f"{self.reduction_factor} is {least}; use at least {least} segments, "
                "or lower one of the two."
            )
        sizes = np.bincount(
            self.assign(settings, segments), minlength=len(self.brackets(segments))
        ).tolist()
        if 0 in sizes or sizes[0] < self.reduction_factor:
            asked = [n for n, _ in self.brackets(segments)]
            raise ValueError(
                f"Hyperband: {settings} settings are too few for {len(sizes)} brackets "
                f"(they would get {sizes}); give about {sum(asked)} settings (for "
                f"{asked}), or raise min_resource for fewer brackets."
            )

    def for_sweep(self, segments: int, settings: int) -> "Hyperband":
        self.check(segments, settings)
        return dataclasses.replace(self, max_resource=self._most(segments))

    def brackets(self, segments: int) -> list[tuple[int, int]]:
        """Return the paper's settings and the segment of the first rung, by bracket.

        The last bracket has no rung: its segment is the last one.
        """
        most, eta = self._most(segments), self.reduction_factor
        last = 0
        while self.min_resource * eta ** (last + 1) <= most:
            last += 1
        return [
            (-(-(last + 1) * eta**s // (s + 1)), most // eta**s)
            for s in range(last, -1, -1)
        ]

    def assign(self, settings: int, segments: int) -> np.ndarray:
        """Return the bracket of each setting, int[settings].

        Brackets are filled in proportion to the paper's numbers, by largest remainder,
        and scattered over the positions in an order that depends on the number of
        settings alone. So each bracket of a sorted grid has settings from all of it.
        """
        asked = np.asarray([n for n, _ in self.brackets(segments)])
        shares, remainders = np.divmod(settings * asked, asked.sum())
        shares += lowest(-remainders, shares >= 0, settings - int(shares.sum()))
        order = np.random.default_rng(0).permutation(settings)
        bracket = np.empty(settings, int)
        bracket[order] = np.repeat(np.arange(len(asked)), shares)
        return bracket

    def rungs(self, segments: int, settings: int) -> list[Rung]:
        most, eta = self._most(segments), self.reduction_factor
        brackets = self.brackets(segments)
        sizes = np.bincount(self.assign(settings, segments), minlength=len(brackets))
        found: list[Rung] = []
        for bracket, size in enumerate(sizes.tolist()):
            came, halvings = size, len(brackets) - 1 - bracket
            for i in range(halvings):
                kept = max(1, size // eta ** (i + 1))
                if kept < came:
                    found.append(
                        Rung(bracket, most // eta ** (halvings - i), came, kept)
                    )
                came = kept
        return found

    def keep(self, observations: Observations) -> np.ndarray:
        if isinstance(self.max_resource, str):
            raise ValueError(
                'Hyperband: max_resource "auto" is known to a sweep only; give the '
                "number of segments, or take for_sweep(segments, settings)."
            )
        kept = going(observations)
        settings, segment = observations.values.shape
        own = self.assign(settings, self.max_resource)
        for rung in self.rungs(self.max_resource, settings):
            if rung.segment == segment:
                among = own == rung.bracket
                best = lowest(observations.values[:, -1], kept & among, rung.kept)
                kept &= best | ~among
        return kept

    def _most(self, segments: int) -> int:
        return segments if isinstance(self.max_resource, str) else self.max_resource
