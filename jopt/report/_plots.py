"""Pictures of a sweep, by matplotlib."""

import warnings
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jopt.report._front import DOMINATED, FRONT, OUT, Front, front_of
from jopt.report._record import Record
from jopt.sweep import PICTURES, SweepResult, file_name, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASELINES = "#555555", "#aa5522", "#227755"  # again from the first after the last
BAD, WINNER, PALE, BLUE = "#cc3311", "#ffaa00", "#bbbbbb", "#21688e"
LONGEST = 60  # letters of a name in a picture
LINES = 8  # settings of the other hyperparameters that a picture can show apart


def save(result: SweepResult, directory: Path) -> list[Path]:
    """Write `<hyperparameter>.png` for the main one, `curves.png`, and `front.png`."""
    name = main_hyperparameter(result)
    pictures: dict[str, Callable[..., None]] = {"curves.png": draw_curves}
    if name is not None:
        pictures = {f"{file_name(name, PICTURES)}.png": draw_response, **pictures}
    if (front := front_of(Record.of(result))) is not None:
        pictures["front.png"] = lambda axes, *_: draw_front(axes, front, _title(result))
    for file, draw in pictures.items():
        figure = _figure(8)
        draw(figure.subplots(), result, name)
        _save(figure, directory / file)
    return [directory / file for file in pictures]


def overview(result: SweepResult, hyperparameter: str | None = None) -> "Figure":
    """Return the pictures side by side."""
    columns = {name: _numbers(result.table[name]) for name in result.info["space"]}
    names = [name for name, values in columns.items() if not np.isnan(values).all()]
    if hyperparameter is not None and hyperparameter not in names:
        raise ValueError(
            f"SweepResult.plot: hyperparameter must be a column of numbers "
            f"({', '.join(names)}), got {hyperparameter!r}."
        )
    name = main_hyperparameter(result) if hyperparameter is None else hyperparameter
    front = front_of(Record.of(result))
    panels = 2 if front is None else 3
    figure = _figure(7 * panels)
    left, right, *last = figure.subplots(1, panels)
    if name is not None:
        draw_response(left, result, name)
    draw_curves(right, result, name)
    if front is not None:
        draw_front(last[0], front, _title(result))
    _as_written(figure)
    return figure


def main_hyperparameter(result: SweepResult) -> str | None:
    """Return the learning rate, or else the first number that has several values."""
    names = result.info["space"]
    # A nested space's is called `optimizer.adamw.learning_rate`.
    for name in sorted(names, key=lambda n: n.split(".")[-1] != "learning_rate"):
        values = _numbers(result.table[name])
        if len(np.unique(values[~np.isnan(values)])) > 1:
            return name
    return None


def draw_response(axes: "Axes", result: SweepResult, name: str) -> None:
    """Draw the final value of the sweep's metric against a hyperparameter.

    Each line is a setting of the other hyperparameters: the mean over the seeds, with a
    band from the least to the greatest. More than `LINES` settings, and the members of
    a population, which continue each other's runs, are drawn as points alone. Pruned
    trials are pale points where they ended. Diverged trials are crosses at the top; the
    dashed line is the least value at which any diverged. Dotted lines are baselines.
    """
    from matplotlib import colormaps  # an extra, and slow to load

    settings = result.settings()
    metric = f"valid_{result.metric}"
    x, y = _numbers(settings[name]), settings[metric]
    diverged = (settings["status"] == "diverged") & ~np.isnan(x)
    pruned = settings["status"] == "pruned"
    if pruned.any():
        axes.plot(x[pruned], y[pruned], "o", ms=3, color=PALE, label="pruned")
    lines = _lines(result, name, settings)
    if len(lines) > LINES or result.lineage is not None:
        kept = ~(diverged | pruned)
        axes.plot(x[kept], y[kept], "o", ms=4, label="trained to the end")
        lines = []
    colors = colormaps["viridis"](np.linspace(0, 0.85, len(lines)))
    for (label, rows), color in zip(lines, colors, strict=True):
        rows = rows[~(diverged | pruned)[rows]]
        rows = rows[np.argsort(x[rows])]
        low, high = settings[f"{metric}_min"][rows], settings[f"{metric}_max"][rows]
        axes.plot(x[rows], y[rows], "o-", ms=4, color=color, label=label)
        axes.fill_between(x[rows], low, high, color=color, alpha=0.25, lw=0)
    to_beat = Record.of(result).baselines
    for (label, value), color in zip(to_beat.items(), cycle(BASELINES), strict=False):
        label = f"{_words(label)}: {value:.4g}"
        axes.axhline(value, color=color, ls=":", lw=1.5, label=label)
    if _spans_decades(x):
        axes.set_xscale("log")
    if _spans_decades(np.append(y[~diverged], list(to_beat.values()))):
        axes.set_yscale("log")
    if diverged.any():
        edge, top = x[diverged].min(), np.full(diverged.sum(), 0.98)
        axes.axvline(edge, color=BAD, ls="--", lw=1, label=f"divergence at {edge:.3g}")
        high = axes.get_xaxis_transform()
        axes.plot(x[diverged], top, "x", color=BAD, transform=high, label="diverged")
    if result.best is not None:
        value = _numbers(result.table[name])[result.best.trial]
        best = value, result.best.valid[result.metric]
        label = f"best: {best[0]:.3g}"
        axes.plot(*best, "*", ms=16, mec="black", color=WINNER, label=label, zorder=5)
    axes.set_xlabel(_words(name))
    ended = {"pruned", "interrupted"} & set(settings["status"].tolist())
    when = "at the last segment" if ended else f"after {result.info['steps']} steps"
    when = "at the best moment" if "best_step" in result.table else when
    axes.set_ylabel(f"validation {_words(result.metric)} {when}")
    axes.set_title(_title(result))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def draw_curves(axes: "Axes", result: SweepResult, name: str | None) -> None:
    """Draw the training loss of every trial, coloured by a hyperparameter.

    Losses are means over a hundredth of the steps, on a log axis if all are above 0. A
    trial that diverged ends in a cross.
    """
    from matplotlib import colormaps  # an extra, and slow to load
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    values = (
        _numbers(result.table[name]) if name else result.table["trial"].astype(float)
    )
    log = _spans_decades(values)
    norm = LogNorm if log else Normalize
    map_ = colormaps["viridis"].with_extremes(bad=PALE)  # where a trial has none
    colors = ScalarMappable(norm(np.nanmin(values), np.nanmax(values)), map_)
    width = max(1, result.curves.shape[1] // 100)
    for trial, losses in enumerate(result.curves):
        steps, means = _smoothed(losses[np.isfinite(losses)], width)
        axes.plot(steps, means, lw=0.8, alpha=0.8, color=colors.to_rgba(values[trial]))
        if result.table["status"][trial] == "diverged" and len(means):
            axes.plot(steps[-1], means[-1], "x", color=BAD)
    known = result.curves[np.isfinite(result.curves)]
    if known.size and known.min() > 0:
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.set_title(_title(result))
    axes.grid(alpha=0.3)
    label = _words(name or "trial")
    axes.figure.colorbar(colors, ax=axes, label=label)


def draw_front(axes: "Axes", found: Front, title: str) -> None:
    """Draw the settings by two objectives, and the border of what they reach in them.

    Beside the front, which is blue, what is within the bounds is grey, and what is not
    is a circle. Dotted lines are bounds.
    """
    x, y, kinds = found.x.values, found.y.values, np.asarray(found.kinds)
    marks = {
        DOMINATED: {"ms": 5, "color": PALE},
        OUT: {"ms": 5, "color": PALE, "mfc": "none"},
        FRONT: {"ms": 6, "color": BLUE},
    }
    line = np.asarray(found.line, int)
    axes.step(x[line], y[line], where=found.corners, color=BLUE, lw=1.5, zorder=1)
    for kind, mark in marks.items():
        rows = kinds == kind
        if rows.any():
            axes.plot(x[rows], y[rows], "o", label=f"{kind}: {rows.sum()}", **mark)
    for axis, draw in ((found.x, axes.axvline), (found.y, axes.axhline)):
        for end in axis.bounds:
            draw(end, color=BAD, ls=":", lw=1, label=f"bound: {end:.4g}")
    if found.best is not None:
        best = x[found.best], y[found.best]
        axes.plot(*best, "*", ms=16, mec="black", color=WINNER, label="best", zorder=5)
    shown = kinds != ""
    if _spans_decades(x[shown]):
        axes.set_xscale("log")
    if _spans_decades(y[shown]):
        axes.set_yscale("log")
    axes.set_xlabel(found.x.title)
    axes.set_ylabel(found.y.title)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _lines(
    result: SweepResult, name: str, settings: dict[str, np.ndarray]
) -> list[tuple[str, np.ndarray]]:
    """Return labels and rows of `settings`, by values of the other hyperparameters."""
    space = result.info["space"]
    others = [n for n, values in space.items() if n != name and len(values) > 1]
    lines: dict[str, list[int]] = {}
    for row in np.flatnonzero(~np.isnan(_numbers(settings[name]))).tolist():
        # Not rounded, or different values could be one line.
        lines.setdefault(repr([settings[n][row] for n in others]), []).append(row)
    found = []
    for rows in lines.values():
        label = ", ".join(
            f"{_words(n)}={_words(str(settings[n][rows[0]]))}" for n in others
        )
        found.append((label or f"validation {_words(result.metric)}", np.asarray(rows)))
    return found


def _figure(width: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to load
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 5), layout="constrained")
    FigureCanvasAgg(figure)  # the canvas of a bare figure draws nothing
    return figure


def _smoothed(losses: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    ends = np.append(np.arange(width, len(losses), width), len(losses))
    if not len(losses):
        return ends[:0], losses
    return ends, np.asarray([part.mean() for part in np.split(losses, ends[:-1])])


def _numbers(column: np.ndarray) -> np.ndarray:
    """Return a column as floats, all NaN if it is not of numbers."""
    if np.issubdtype(column.dtype, np.number):
        return column.astype(float)
    return np.full(len(column), np.nan)


def _spans_decades(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return len(finite) > 1 and finite.min() > 0 and finite.max() > 30 * finite.min()


def _title(result: SweepResult) -> str:
    return f"{_words(result.info['task'])}: {len(result.trials)} trials"


def _words(name: str) -> str:
    """Return a name as it is written, on one line, a long one cut in the middle."""
    line = " ".join(name.split())
    return line if len(line) <= LONGEST else f"{line[:28]}…{line[-28:]}"


def _as_written(figure: "Figure") -> None:
    """Keep matplotlib from reading the dollars of names as mathematics."""
    for axes in figure.axes:
        legend = axes.get_legend()
        texts = [] if legend is None else legend.get_texts()
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *texts):
            text.set_parse_math(False)


def _save(figure: "Figure", path: Path) -> None:
    """Write a picture, with boxes for the letters that the font lacks."""
    _as_written(figure)
    with warnings.catch_warnings(), replacing(path) as partial:
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(partial, dpi=120)
