"""The pictures of a comparison: valleys of the rate, differences, curves."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#999999"


class Found(NamedTuple):
    """The parts of a comparison that are drawn, with its columns."""

    table: dict[str, np.ndarray]
    rates: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    info: dict[str, Any]


def overview(found: Found) -> "Figure":
    """Return a figure with the valleys, the differences and the curves."""
    from matplotlib import colormaps  # an extra, and slow to load
    from matplotlib.figure import Figure

    names = found.table["optimizer"].tolist()
    shades = colormaps["tab10" if len(names) <= 10 else "tab20"]
    colors = {name: shades(i % shades.N) for i, name in enumerate(names)}
    figure = Figure(figsize=(15, 5), layout="constrained")
    valleys, forest, curves = figure.subplots(1, 3)
    _valleys(valleys, found, colors)
    _forest(forest, found, colors)
    _curves(curves, found, colors)
    info = found.info
    decay = ", ".join(f"{d:g}" for d in info["decay"])
    figure.suptitle(
        f"{info['task']}, {info['steps']} steps, {' and '.join(info['schedule'])}, "
        f"decay {decay}: {info['seeds']} tuning seeds, {info['confirm']} fresh ones"
    )
    return figure


def _valleys(axes: "Axes", found: Found, colors: dict[str, Any]) -> None:
    """Draw loss by rate over the best rate, and the losses of the fresh seeds."""
    rates, table = found.rates, found.table
    for row, name in enumerate(table["optimizer"]):
        of = rates["optimizer"] == name
        best = table["learning_rate"][row]
        if of.sum() < 2 or not np.isfinite(best):
            continue
        x, y = rates["learning_rate"][of] / best, rates["loss"][of]
        color = colors[name]
        label = f"{name}, best at {best:.2g}"
        axes.plot(x, y, ".-", ms=4, lw=1, color=color, label=label)
        spread = np.nan_to_num(rates["sd"][of])
        axes.fill_between(x, y - spread, y + spread, color=color, alpha=0.15, lw=0)
        if (lost := ~np.isfinite(y)).any():
            top = np.full(lost.sum(), 0.97)
            across = axes.get_xaxis_transform()
            axes.plot(x[lost], top, "x", color=color, transform=across)
        if np.isfinite(y).any():
            axes.plot(1, np.nanmin(y), "*", ms=11, mfc="none", mec=color)
        ends = [[table["loss"][row] - table["loss_low"][row]]]
        ends += [[table["loss_high"][row] - table["loss"][row]]]
        if np.isfinite(ends).all():
            axes.errorbar(1, table["loss"][row], ends, fmt="*", ms=11, color=color)
    axes.set_xscale("log")
    finite = rates["loss"][np.isfinite(rates["loss"])]
    if finite.size:
        low, high = finite.min(), np.quantile(finite, 0.9)
        axes.set_ylim(low - 0.1 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
    axes.set_xlabel("learning rate / best")
    axes.set_ylabel(f"validation {found.info['metric'].replace('_', ' ')}")
    axes.set_title("hollow: tuned, filled: fresh seeds, x: diverged", fontsize="medium")
    axes.legend(fontsize="x-small")
    axes.grid(alpha=0.3)


def _forest(axes: "Axes", found: Found, colors: dict[str, Any]) -> None:
    """Draw the differences to the baseline, grey where they are not told apart."""
    table = found.table
    names = table["optimizer"].tolist()
    for row, name in enumerate(names):
        value = table["difference"][row]
        told = table["verdict"][row] in ("better", "worse", "baseline")
        ends = [[value - table["difference_low"][row]]]
        ends += [[table["difference_high"][row] - value]]
        if np.isfinite(value):
            ends = ends if np.isfinite(ends).all() else None
            color = colors[name] if told else GREY
            axes.errorbar(value, row, xerr=ends, fmt="o", color=color, capsize=3)
    axes.axvline(0, color=GREY, lw=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    scale = "relative difference" if found.info["scale"] == "log" else "difference"
    share = f"{found.info['level']:.0%}"
    axes.set_xlabel(f"{scale} to {found.info['baseline']}, {share}")
    axes.set_title("grey: not told apart", fontsize="medium")
    axes.grid(alpha=0.3, axis="x")


def _curves(axes: "Axes", found: Found, colors: dict[str, Any]) -> None:
    """Draw the validation loss by step, means of the fresh seeds."""
    curves = found.curves
    for name in found.table["optimizer"] if curves else ():
        of = curves["optimizer"] == name
        if not of.any():
            continue
        steps = np.unique(curves["step"][of])
        losses = curves["loss"][of].reshape(-1, len(steps))
        axes.plot(steps, losses.mean(axis=0), lw=1.5, color=colors[name], label=name)
    base = np.flatnonzero(found.table["verdict"] == "baseline")
    if len(base):
        loss = float(found.table["loss"][base[0]])
        axes.axhline(loss, color=GREY, lw=1, ls="--", label=found.info["baseline"])
    axes.set_xlabel("step")
    axes.set_title("dashed: the baseline's last loss", fontsize="medium")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small")
    axes.grid(alpha=0.3)
