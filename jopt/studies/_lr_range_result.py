"""The result of a learning-rate range test: table, suggested rate, figure, files."""

import csv
import dataclasses
import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jopt.core import FilePath, checked
from jopt.report import at_end
from jopt.sweep import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, BAD, CHOSEN, OTHER = "#3366aa", "#cc3311", "#ffaa00", "#888888"
TENTH = "a tenth of least"


@dataclasses.dataclass(frozen=True)
class LearningRateRange:
    """The losses of a range of learning rates after a few steps.

    Args:
      hyperparameter: the name of the rate.
      rates: float64[rates], ascending.
      losses: the training loss after the steps, a mean over the last fifth of them,
        float64[rates, seeds]; NaN where there is none.
      diverged: bool[rates, seeds]: the loss was not finite, or above the task's bound,
        or rose by more than the best rate made it fall.
      first_loss: the loss before training, a mean over the seeds.
      curves: the loss before each step, float32[rates, seeds, steps].
      info: how it ran: task, steps, versions, device, times.
    """

    hyperparameter: str
    rates: np.ndarray
    losses: np.ndarray
    diverged: np.ndarray
    first_loss: float
    curves: np.ndarray
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

    @functools.cached_property
    def suggestions(self) -> dict[str, float]:
        """The rate that each rule suggests, by the rule's name; empty if none helps."""
        if self._nothing is not None:
            return {}
        curve = self.rates[: self._below], self.loss[: self._below]
        return {
            "nearly least": nearly_least(*curve, self.first_loss),
            TENTH: tenth_of_least(*curve),
        }

    @property
    def suggestion(self) -> float | None:
        """The rate to take; None if there is none, and `rule` says why."""
        return self.suggestions.get("nearly least")

    @functools.cached_property
    def rule(self) -> str:
        """The rule of the suggestion, or the reason why there is none: a sentence."""
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
            return f"{text} {at_end('best rate', best, 'largest')}"
        if self.suggestion == self.rates[0]:
            return f"{text} {at_end('suggested rate', self.suggestion, 'smallest')}"
        return text

    def plot(self) -> "Figure":
        """Return a matplotlib figure of the losses by rate and of the suggested rates.

        The band reaches over the seeds. Diverged trials are crosses at the top; from
        the least of their rates on the background is red.
        """
        from matplotlib.figure import Figure  # an extra, and slow to load

        figure = Figure(figsize=(9, 5.5), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_xlim(self.rates[0], self.rates[-1])
        axes.axhline(self.first_loss, color=OTHER, ls=":", label="before training")
        _draw_band(axes, self)
        _draw_diverged(axes, self)
        _draw_suggestions(axes, self)
        _limit(axes, self)
        axes.set_xlabel(self.hyperparameter.replace("_", " "))
        axes.set_ylabel("training loss")
        rates, seeds, steps = self.curves.shape
        axes.set_title(
            f"{self.info['task']}: {rates} rates, {seeds} seeds, {steps} steps"
        )
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=3, fontsize="small")
        return figure

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
        found = {
            "suggestion": self.suggestion,
            "rule": self.rule,
            "suggestions": self.suggestions,
            "edge": self.edge,
            "first_loss": self.first_loss if np.isfinite(self.first_loss) else None,
            **self.info,
        }
        record.write_text(in_words(found, indent=2) + "\n")
        written = [table, record]
        if importlib.util.find_spec("matplotlib") is not None:
            self.plot().savefig(path / "lr_find.png", dpi=120)
            written.append(path / "lr_find.png")
        return written

    @property
    def _below(self) -> int:
        """The number of rates below the edge."""
        bad = self.diverged.any(axis=1)
        return int(np.argmax(bad)) if bad.any() else len(self.rates)

    @functools.cached_property
    def _nothing(self) -> str | None:
        """The reason why no rate is suggested, if there is one."""
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


def nearly_least(
    rates: np.ndarray, losses: np.ndarray, first: float, share: float = 0.95
) -> float:
    """Return the least rate that gains nearly as much as the best one.

        the least rate with  loss <= first - share (first - least loss)
                        and  rate >= best rate / 10

    Near its minimum a curve is flat and noisy, and of rates that do equally well in a
    short test the smaller ones are safer in a long training. The idea is that of the
    one standard error rule (Breiman et al. 1984, Classification and Regression Trees,
    section 3.4.3) with a share of the gain in place of the error: the rate is the same
    for losses scaled or shifted. If a test is so long that the loss almost vanishes,
    rates far too small reach the share too; hence the tenth.

    Measured with adamw, sgd with and without momentum, and lion, on `digits` and an MLP
    of MNIST's images: tests of 100 steps, then trainings of 500. Their validation loss
    was this many times that of the best rate (geometric means of all eight):

                                    constant rate    cosine decay
        nearly least                     1.33            1.23
        a tenth of least                 1.26            1.58
        least                            1.84            1.43
        steepest descent                 1.85            3.04
        valley of a ramp (fastai)        1.61            1.66

    Args:
      rates: constant rates below the edge of divergence, ascending, float64[rates].
      losses: their losses, finite, float64[rates].
      first: the loss before training.
      share: of the gain of the best rate, in (0, 1].
    """
    losses = smoothed(losses)
    near = losses <= first - share * (first - losses.min())
    near &= rates >= rates[np.argmin(losses)] / 10
    return float(rates[np.argmax(near)])


def tenth_of_least(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return a tenth of the rate with the least loss; it need not be among the rates.

    Gugger 2018, https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html.
    """
    return float(rates[np.argmin(smoothed(losses))] / 10)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Return means over each loss and its two neighbours, which count half."""
    around = np.pad(losses, 1, mode="edge")
    return (around[:-2] + 2 * around[1:-1] + around[2:]) / 4


def _draw_band(axes: "Axes", found: LearningRateRange) -> None:
    losses = np.where(found.diverged, np.nan, found.losses)
    rows = np.isfinite(losses).any(axis=1)
    if not rows.any():
        return
    rates, losses = found.rates[rows], losses[rows]
    low, high = np.nanmin(losses, axis=1), np.nanmax(losses, axis=1)
    axes.fill_between(rates, low, high, color=LINE, alpha=0.25, lw=0, label="its seeds")
    label = f"constant rates, after {found.curves.shape[2]} steps"
    axes.plot(found.rates, found.loss, "o-", ms=3, color=LINE, label=label)


def _draw_diverged(axes: "Axes", found: LearningRateRange) -> None:
    if found.edge is None:
        return
    label = f"diverged, from {found.edge:.2g} on"
    axes.axvspan(found.edge, found.rates[-1], color=BAD, alpha=0.08, lw=0)
    axes.axvline(found.edge, color=BAD, ls="--", lw=1)
    rates = found.rates[found.diverged.any(axis=1)]
    top, high = np.full(len(rates), 0.98), axes.get_xaxis_transform()
    axes.plot(rates, top, "x", ms=4, color=BAD, transform=high, label=label)


def _draw_suggestions(axes: "Axes", found: LearningRateRange) -> None:
    if found.suggestion is None:
        return
    curve = np.isfinite(found.loss)
    rate = found.suggestions[TENTH]
    loss = np.interp(rate, found.rates[curve], found.loss[curve])
    label = f"{TENTH}: {rate:.2g}"
    axes.plot(rate, loss, "<", ms=8, mec="black", color="white", label=label)
    rate = found.suggestion
    loss = found.loss[np.searchsorted(found.rates, rate)]
    axes.axvline(rate, color=CHOSEN, lw=1)
    label = f"suggested: {rate:.2g}"
    axes.plot(rate, loss, "*", ms=17, mec="black", color=CHOSEN, label=label, zorder=5)


def _limit(axes: "Axes", found: LearningRateRange) -> None:
    """Limit the axis to losses that matter: rates near the edge may have huge ones."""
    losses = found.losses[np.isfinite(found.losses) & ~found.diverged]
    if not len(losses) or not np.isfinite(found.first_loss):
        return
    least, first = losses.min(), found.first_loss
    if least > 0 and first > 10 * least:
        axes.set_yscale("log")
        axes.set_ylim(least / 1.5, max(2 * first, losses.max() * 1.2))
    else:
        room = max(first - least, losses.max() - first, 1e-6 * abs(first))
        axes.set_ylim(least - 0.1 * room, first + 0.5 * room)
