"""The picture of a learning-rate range test, by matplotlib."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from jopt.studies._lr_range_result import LearningRateRange

LINE, BAD, CHOSEN, OTHER = "#3366aa", "#cc3311", "#ffaa00", "#888888"


def figure(found: "LearningRateRange") -> Figure:
    """Return the losses' band against the rate, what the rules suggest, and the ramp.

    Diverged trials are crosses at the top; from the least of their rates on the
    background is red.
    """
    made = Figure(figsize=(9, 5.5), layout="constrained")
    axes = made.subplots()
    axes.set_xscale("log")
    axes.set_xlim(found.rates[0], found.rates[-1])
    axes.axhline(found.first_loss, color=OTHER, ls=":", label="before training")
    _ramp(axes, found)
    _band(axes, found)
    _diverged(axes, found)
    _suggestions(axes, found)
    _limits(axes, found)
    axes.set_xlabel(found.hyperparameter.replace("_", " "))
    axes.set_ylabel("training loss")
    seeds, steps = found.curves.shape[1:]
    title = (
        f"{found.info['task']}: {len(found.rates)} rates, {seeds} seeds, {steps} steps"
    )
    axes.set_title(title)
    axes.grid(alpha=0.3)
    made.legend(loc="outside lower center", ncols=3, fontsize="small")
    return made


def _band(axes: Axes, found: "LearningRateRange") -> None:
    losses = np.where(found.diverged, np.nan, found.losses)
    rows = np.isfinite(losses).any(axis=1)
    if not rows.any():
        return
    rates, losses = found.rates[rows], losses[rows]
    low, high = np.nanmin(losses, axis=1), np.nanmax(losses, axis=1)
    axes.fill_between(rates, low, high, color=LINE, alpha=0.25, lw=0, label="its seeds")
    label = f"constant rates, after {found.curves.shape[2]} steps"
    axes.plot(found.rates, found.loss, "o-", ms=3, color=LINE, label=label)


def _ramp(axes: Axes, found: "LearningRateRange") -> None:
    if found.ramp is None:
        return
    seen = slice(found.ramp.stop)
    rates = found.ramp.rates[seen]
    each = found.ramp.losses[seen]
    axes.plot(rates, each, color=OTHER, lw=0.6, alpha=0.6, label="ramp, each step")
    axes.plot(rates, found.ramp.smoothed[seen], color=OTHER, label="ramp, running mean")


def _diverged(axes: Axes, found: "LearningRateRange") -> None:
    if found.edge is None:
        return
    label = f"diverged, from {found.edge:.2g} on"
    axes.axvspan(found.edge, found.rates[-1], color=BAD, alpha=0.08, lw=0)
    axes.axvline(found.edge, color=BAD, ls="--", lw=1)
    rates = found.rates[found.diverged.any(axis=1)]
    top, high = np.full(len(rates), 0.98), axes.get_xaxis_transform()
    axes.plot(rates, top, "x", ms=4, color=BAD, transform=high, label=label)


def _suggestions(axes: Axes, found: "LearningRateRange") -> None:
    markers = {"a tenth of least": "<", "steepest": "v"}
    curve = np.isfinite(found.loss)
    for name, rate in found.suggestions.items():
        if name in markers:
            loss = np.interp(rate, found.rates[curve], found.loss[curve])
            label = f"{name}: {rate:.2g}"
            axes.plot(
                rate, loss, markers[name], ms=8, mec="black", color="white", label=label
            )
    if found.ramp is not None and found.ramp.suggestion is not None:
        rate = found.ramp.suggestion
        loss = found.ramp.smoothed[np.searchsorted(found.ramp.rates, rate)]
        label = f"ramp's valley: {rate:.2g}"
        axes.plot(rate, loss, "D", ms=6, mec="black", color=OTHER, label=label)
    if found.suggestion is not None:
        rate = found.suggestion
        loss = found.loss[np.searchsorted(found.rates, rate)]
        axes.axvline(rate, color=CHOSEN, lw=1)
        label = f"suggested: {rate:.2g}"
        axes.plot(
            rate, loss, "*", ms=17, mec="black", color=CHOSEN, label=label, zorder=5
        )


def _limits(axes: Axes, found: "LearningRateRange") -> None:
    """What a ramp or a rate near the edge blows up is not what is looked at."""
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
