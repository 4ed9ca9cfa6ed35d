"""Hyperband: successive halving from early to never, side by side."""

import dataclasses
from typing import Literal

import numpy as np

from jopt.core import named_class
from jopt.sweep.pruners._observations import Reports
from jopt.sweep.pruners._pruner import Pruner, Rung, check_integers, going, lowest


@named_class
@dataclasses.dataclass(frozen=True)
class Hyperband(Pruner):
    """Share the settings among brackets that halve from early on, later, or never.

        s_max = floor(log_eta(R / min_resource))
        bracket b = 0 ... s_max, with s = s_max - b:
            n = ceil((s_max + 1) eta^s / (s + 1)) settings, halved s times:
            after report floor(R eta^(i - s)) the best max(1, floor(n / eta^(i + 1))) go
            on, i = 0 ... s - 1

    All brackets train at once, and each compares its own settings only. A sweep of any
    number of settings shares them in proportion to those n.

    min_resource: reports before which nothing is ended, at least 1. max_resource: R,
    reports, or "auto": those of the sweep. reduction_factor: eta, an integer of at
    least 2.

    R = 81 and eta = 3 make the brackets (81, 1), (34, 3), (15, 9), (8, 27), (5, 81) of
    settings and reports before the first halving. Rungs count down from R, as in the
    paper; Optuna's count up from min_resource. They are the same where R is
    min_resource times a power of eta. The last bracket trains all its settings to the
    end: that is what protects from rungs that come too early.

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

    def check(self, reports: int, settings: int) -> None:
        if not isinstance(self.max_resource, str) and self.max_resource > reports:
            raise ValueError(
                f"Hyperband: max_resource {self.max_resource} is more than the "
                f"{reports} reports of the sweep, one a segment; use "
                f'{self.max_resource} segments, or max_resource "auto".'
            )
        least = self.min_resource * self.reduction_factor
        if reports < least:
            raise ValueError(
                f"Hyperband: {reports} reports, one a segment, leave nothing to halve: "
                f"min_resource {self.min_resource} times reduction_factor "
                f"{self.reduction_factor} is {least}; use at least {least} segments, "
                "or lower one of the two."
            )
        sizes = np.bincount(
            self.assign(settings, reports), minlength=len(self.brackets(reports))
        ).tolist()
        if 0 in sizes or sizes[0] < self.reduction_factor:
            asked = [n for n, _ in self.brackets(reports)]
            raise ValueError(
                f"Hyperband: {settings} settings are too few for {len(sizes)} brackets "
                f"(they would get {sizes}); give about {sum(asked)} settings (for "
                f"{asked}), or raise min_resource for fewer brackets."
            )

    def for_sweep(self, reports: int, settings: int) -> "Hyperband":
        self.check(reports, settings)
        return dataclasses.replace(self, max_resource=self._most(reports))

    def brackets(self, reports: int) -> list[tuple[int, int]]:
        """Return the paper's settings of each bracket and the report of its first rung.

        The last bracket has no rung: its number is the reports in all.
        """
        most, eta = self._most(reports), self.reduction_factor
        last = 0
        while self.min_resource * eta ** (last + 1) <= most:
            last += 1
        return [
            (-(-(last + 1) * eta**s // (s + 1)), most // eta**s)
            for s in range(last, -1, -1)
        ]

    def assign(self, settings: int, reports: int) -> np.ndarray:
        """Return the bracket of each setting, int[settings].

        In proportion to the paper's numbers, by largest remainder, and scattered over
        the positions in an order that depends on their number alone: each bracket of a
        sorted grid has some of all of it.
        """
        asked = np.asarray([n for n, _ in self.brackets(reports)])
        shares, remainders = np.divmod(settings * asked, asked.sum())
        shares += lowest(-remainders, shares >= 0, settings - int(shares.sum()))
        order = np.random.default_rng(0).permutation(settings)
        bracket = np.empty(settings, int)
        bracket[order] = np.repeat(np.arange(len(asked)), shares)
        return bracket

    def rungs(self, reports: int, settings: int) -> list[Rung]:
        most, eta = self._most(reports), self.reduction_factor
        brackets = self.brackets(reports)
        sizes = np.bincount(self.assign(settings, reports), minlength=len(brackets))
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

    def keep(self, reports: Reports) -> np.ndarray:
        if isinstance(self.max_resource, str):
            raise ValueError(
                'Hyperband: max_resource "auto" is known to a sweep only; give the '
                "number of reports, or take for_sweep(reports, settings)."
            )
        kept = going(reports)
        settings, report = reports.values.shape
        own = self.assign(settings, self.max_resource)
        for rung in self.rungs(self.max_resource, settings):
            if rung.report == report:
                best = lowest(
                    reports.values[:, -1], kept & (own == rung.bracket), rung.kept
                )
                kept &= best | (own != rung.bracket)
        return kept

    def _most(self, reports: int) -> int:
        return reports if isinstance(self.max_resource, str) else self.max_resource
