"""What a learning-rate range test saw, and the rate that it suggests."""

import csv
import dataclasses
import functools
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jopt.core import FilePath, checked
from jopt.studies import _lr_rules as lr_rules
from jopt.studies._ramp import Ramp

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class LearningRateRange:
    """What every rate did in a few steps.

    hyperparameter: the name of the rate.
    rates: float64[rates], ascending.
    losses: the training loss after the steps, a mean over the last fifth of them,
        float64[rates, seeds]; NaN where there is none.
    diverged: bool[rates, seeds]: the loss was not finite, or above what the task says,
        or rose by more than the best rate made it fall.
    first_loss: the loss before training, mean over the seeds.
    curves: the loss before each step, float32[rates, seeds, steps].
    ramp: the classical test beside it, or None; `info["no_ramp"]` says why.
    info: how it ran: task, steps, versions, device, times.
    """

    hyperparameter: str
    rates: np.ndarray
    losses: np.ndarray
    diverged: np.ndarray
    first_loss: float
    curves: np.ndarray
    ramp: Ramp | None
    info: dict[str, Any]

    @functools.cached_property
    def loss(self) -> np.ndarray:
        """The mean over the seeds, float64[rates]; NaN where any of them diverged."""
        return np.where(self.diverged, np.nan, self.losses).mean(axis=1)

    @property
    def table(self) -> dict[str, np.ndarray]:
        """By name: the rate, its loss, seeds that diverged, the loss of each seed."""
        seeds = {f"loss_{seed}": losses for seed, losses in enumerate(self.losses.T)}
        columns = {"loss": self.loss, "diverged": self.diverged.sum(axis=1)}
        return {self.hyperparameter: self.rates, **columns, **seeds}

    @property
    def edge(self) -> float | None:
        """The least rate at which any seed diverged; None if none did."""
        return float(self.rates[self._below]) if self.diverged.any() else None

    @property
    def steepest(self) -> float | None:
        """The rate below the edge where the loss falls fastest; None without a fall."""
        return self.suggestions.get("steepest")

    @functools.cached_property
    def suggestions(self) -> dict[str, float]:
        """What each rule of `rates.rules` suggests; empty if nothing helps."""
        ramped = None if self.ramp is None else self.ramp.suggestion
        found = {} if ramped is None else {"ramp's valley": ramped}
        if self._nothing is not None:
            return found
        curve = self.rates[: self._below], self.loss[: self._below]
        return {
            "nearly least": lr_rules.nearly_least(*curve, self.first_loss),
            "a tenth of least": lr_rules.tenth_of_least(*curve),
            "steepest": lr_rules.steepest(*curve),
            **found,
        }

    @property
    def suggestion(self) -> float | None:
        """The rate to take; None if there is none, and `rule` says why."""
        return self.suggestions.get("nearly least")

    @functools.cached_property
    def rule(self) -> str:
        """How the suggestion was found, or why there is none: a sentence."""
        if self._nothing is not None:
            return self._nothing
        usable = self.loss[: self._below]
        best = self.rates[np.argmin(usable)]
        text = (
            "The least rate, down to a tenth of the best, that gains 95 % of what the "
            f"best one gains: in {self.curves.shape[2]} steps the loss went from "
            f"{self.first_loss:.4g} to {usable.min():.4g} at {best:.3g}."
        )
        if np.argmin(usable) == len(self.rates) - 1:
            return f"{text} It still falls at the highest rate: try higher ones too."
        if self.suggestion == self.rates[0]:
            return f"{text} It is the lowest rate tried: try lower ones too."
        return text

    def plot(self) -> "Figure":
        """Return a matplotlib figure: the band of losses, the edge, rules, the ramp."""
        from jopt.studies import _lr_plot as lr_plot

        return lr_plot.figure(self)

    @checked
    def save(self, directory: FilePath) -> list[Path]:
        """Write lr_find.csv, lr_find.json and lr_find.png; return the files written.

        Without matplotlib there is no picture. Raises an OSError if the directory
        cannot be written.
        """
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        table, record = path / "lr_find.csv", path / "lr_find.json"
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.table)
            columns = (column.tolist() for column in self.table.values())
            writer.writerows(zip(*columns, strict=True))
        record.write_text(json.dumps(self._record(), indent=2, default=str) + "\n")
        written = [table, record]
        if importlib.util.find_spec("matplotlib") is not None:
            self.plot().savefig(path / "lr_find.png", dpi=120)
            written.append(path / "lr_find.png")
        return written

    @property
    def _below(self) -> int:
        """How many rates are below the edge."""
        bad = self.diverged.any(axis=1)
        return int(np.argmax(bad)) if bad.any() else len(self.rates)

    @functools.cached_property
    def _nothing(self) -> str | None:
        """Why no rate can be suggested."""
        low, high = self.rates[0], self.rates[-1]
        if np.isnan(np.where(self.diverged, 0, self.losses)).any():
            return "Interrupted before all rates were trained, so none is suggested."
        if not np.isfinite(self.first_loss):
            return (
                "The loss is not finite before the first step already: no rate can "
                "help; look at the task's data, init and loss."
            )
        if self._below == 0:
            return (
                f"Training diverged at {low:.3g}, the lowest rate, already "
                f"(in {self.diverged.sum()} of {self.diverged.size} trials in all): "
                "try lower rates."
            )
        if not self.loss[: self._below].min() < self.first_loss:
            return (
                f"No rate from {low:.3g} to {high:.3g} that did not diverge made the "
                f"loss lower than {self.first_loss:.4g}, what it was before training: "
                "try other rates, or more steps."
            )
        return None

    def _record(self) -> dict[str, Any]:
        ramp = None
        if self.ramp is not None:
            shown = ("rates", "losses", "smoothed")
            ramp = {name: _plain(getattr(self.ramp, name)) for name in shown}
            ramp |= {"stop": self.ramp.stop, "suggestion": self.ramp.suggestion}
        return {
            "suggestion": self.suggestion,
            "rule": self.rule,
            "suggestions": self.suggestions,
            "edge": self.edge,
            "first_loss": _plain(np.asarray([self.first_loss]))[0],
            "ramp": ramp,
            **self.info,
        }


def _plain(values: np.ndarray) -> list[float | None]:
    """Numbers that JSON has: none of infinity and NaN."""
    return [value if np.isfinite(value) else None for value in values.tolist()]
