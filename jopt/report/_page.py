"""The page: sentences, and the data and scripts of its figures, in one HTML file."""

import base64
import functools
import html
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jopt.core import FilePath, checked
from jopt.report._front import Axis, front_of
from jopt.report._importance import importance
from jopt.report._record import Record
from jopt.report._sentences import facts, fits, headline, outcome, remarks, title
from jopt.sweep import Lineage, SweepResult, replacing

SCRIPTS = (
    "page.js",
    "axes.js",
    "response.js",
    "curves.js",
    "parallel.js",
    "bars.js",
    "ancestry.js",
    "front.js",
    "each.js",
    "table.js",
    "start.js",
)
POINTS = 120  # of a curve at most
LEAST = 40  # of a curve, for any number of curves
MEANS = 5  # steps in each point, if that leaves LEAST points: batches differ
ALL = 300_000  # points of all curves, if LEAST allows it
DRAWN = 400  # curves in a figure at once; any other is drawn when it is chosen


@checked
def write(result: SweepResult | Record, path: FilePath) -> Path:
    """Write the page of a sweep to `path`; return it.

        report.write(sweep.load("sweeps/digits-1"), "report.html")

    Args:
      result: a sweep's result, or its record.
      path: of the file; one that exists is replaced.

    Returns:
      The path.

    Raises:
      ImportError: without plotly.
      OSError: if `path` cannot be written.
    """
    path = Path(path)
    text = page(result if isinstance(result, Record) else Record.of(result))
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


@checked
def page(record: Record) -> str:
    """Return the page as HTML; the same for the same record, byte for byte.

    It holds plotly.js (about 5 MB) and the data of its figures. Its own content policy
    forbids requests to a network.

    Args:
      record: what the page shows, as of `Record.of(result)`.
    """
    parts = {
        "title": html.escape(title(record)),
        "headline": html.escape(headline(record)),
        "outcome": html.escape(
            " ".join([outcome(record), *remarks(record), *fits(record)])
        ),
        "facts": "\n".join(
            f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd></div>"
            for term, text in facts(record)
        ),
        "info": html.escape(json.dumps(_shortened(record.info), indent=2)),
        "data": _inside_script(json.dumps(contents(record), separators=(",", ":"))),
        "style": _file("page.css"),
        "plotly": _plotly(),
        "scripts": "\n".join(map(_file, SCRIPTS)),
    }
    pieces = _file("page.html").split("@@")  # text, name, text, name, ..., text
    pieces[1::2] = [parts[name] for name in pieces[1::2]]
    return "".join(pieces)


def contents(record: Record) -> dict[str, Any]:
    """Return all that the figures and the table show; no value is NaN or infinite."""
    losses = record.table[record.metric]
    best = None if record.best is None else int(record.best["trial"])
    ends, means = thinned(record.curves)
    setting = np.zeros(len(losses), int)
    for position, rows in enumerate(record.settings()):
        setting[rows] = position
    return {
        "columns": {name: _column(c) for name, c in record.table.items()},
        "hyperparameters": record.hyperparameters,
        "varying": record.varying,
        "setting": setting.tolist(),
        "best": best,
        "metric": record.metric,
        "mode": record.mode,
        "baselines": [[n, v] for n, v in record.baselines.items() if math.isfinite(v)],
        "steps": record.curves.shape[1],
        "curves": {"steps": ends.tolist(), "losses": _packed(means)},
        "shown": shown(-losses if record.mode == "max" else losses, best).tolist(),
        "valid": {
            "steps": record.valid_steps.tolist(),
            "metrics": {name: _packed(v) for name, v in record.valid.items()},
        },
        "rungs": rungs(record),
        "importance": importance(record),
        "ancestry": ancestry(record),
        "front": front(record),
        "each": [
            [name, [[value, trial, _finite(mean)] for value, trial, mean in found]]
            for name, found in record.best_of_each().items()
        ],
    }


def rungs(record: Record) -> dict[str, Any]:
    """Return how many trials each segment trained, and how trials ended there.

    Returns {"steps", "trained", "pruned", "diverged", "last"}: the first four by
    segment; `last` is the segment of each trial's end, -1 for one that never began.
    """
    status, steps = record.table["status"], record.table["steps"]
    ends = np.asarray(record.valid_steps)
    # A trial that diverged made some steps of its last segment; others made them all.
    diverged = np.searchsorted(ends, steps, side="right")
    last = np.where(status == "diverged", diverged, np.searchsorted(ends, steps))
    last = np.minimum(last, len(ends) - 1)
    last = np.where((steps == 0) & (status == "interrupted"), -1, last)

    def by_segment(trials: np.ndarray) -> np.ndarray:
        return np.bincount(last[trials & (last >= 0)], minlength=len(ends))

    trained = by_segment(np.ones(len(last), bool))[::-1].cumsum()[::-1]
    return {
        "steps": ends.tolist(),
        "trained": trained.tolist(),
        "pruned": by_segment(status == "pruned").tolist(),
        "diverged": by_segment(status == "diverged").tolist(),
        "last": last.tolist(),
    }


def ancestry(record: Record) -> dict[str, Any] | None:
    """Return how a population's hyperparameters changed, and the winner's ancestry.

    Returns None for a sweep without a lineage, or else {"names", "trials", "best"}: the
    numeric hyperparameters that changed; for each trial a list of [step, whether it was
    copied from another trial then, values]; and the same of the runs that led to the
    winner, from step 0 to the end, or None.
    """
    held = record.info.get("lineage")
    if held is None or not held["events"]:
        return None
    lineage = Lineage.from_dict(held)
    names = [n for n in lineage.settings[0] if _moved(lineage, n)]
    trials = [[[0, False, [s[n] for n in names]]] for s in lineage.settings]
    for event in lineage.events:
        values = [event.new[name] for name in names]
        trials[event.child].append([event.step, event.parent != event.child, values])
    best = None
    if record.best is not None:
        best = [
            [stretch.step, False, [stretch.setting[name] for name in names]]
            for stretch in lineage.ancestors(record.best["trial"])
        ]
    return {"names": names, "trials": trials, "best": best}


def front(record: Record) -> dict[str, Any] | None:
    """Return what `front_of` does as plain values; None where that does."""
    found = front_of(record)
    if found is None:
        return None
    return {**found._asdict(), "x": _axis(found.x), "y": _axis(found.y)}


def _axis(axis: Axis) -> dict[str, Any]:
    values = list(map(_finite, axis.values.tolist()))
    return {"title": axis.title, "values": values, "bounds": axis.bounds}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _moved(lineage: Lineage, name: str) -> bool:
    settings = [*lineage.settings, *(event.new for event in lineage.events)]
    values = [setting.get(name) for setting in settings]
    numbers = all(isinstance(v, (int, float)) and v is not True for v in values)
    return numbers and len(set(values)) > 1


def thinned(losses: np.ndarray, points: int | None = None) -> tuple[np.ndarray, ...]:
    """Return the means of curves over equal stretches of steps.

    Args:
      losses: float[trials, steps], NaN after a trial's end.
      points: the most stretches; by default as many as keep a page of so many trials
        small and quick.

    Returns:
      The steps at which the stretches end, int[points], and the means of the finite
      losses, float32[trials, points], NaN where there are none.
    """
    trials, steps = losses.shape
    if points is None:
        points = max(LEAST, min(POINTS, steps // MEANS, ALL // max(trials, 1)))
    edges = np.unique(np.linspace(0, steps, min(points, steps) + 1).astype(int))
    finite = np.isfinite(losses)
    known = np.where(finite, losses, 0)
    sums = np.add.reduceat(known, edges[:-1], axis=1, dtype=np.float64)
    counts = np.add.reduceat(finite, edges[:-1], axis=1, dtype=np.int64)
    means = np.full(sums.shape, np.nan, np.float32)
    # A loss just before a divergence may be too large for float32: then it is left out.
    with np.errstate(over="ignore"):
        means[counts > 0] = sums[counts > 0] / counts[counts > 0]
    return edges[1:], np.where(np.isfinite(means), means, np.nan)


def shown(losses: np.ndarray, best: int | None) -> np.ndarray:
    """Return the trials to draw: all, or the best and an even selection of the others.

    Of more than `DRAWN` trials a quarter of `DRAWN` are the best ones. `losses` are
    those of validation, float[trials]; `best` is a trial that is drawn in any case.
    """
    trials = len(losses)
    if trials <= DRAWN:
        return np.arange(trials)
    order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
    first, rest = order[: DRAWN // 4], order[DRAWN // 4 :]
    fair = rest[np.linspace(0, len(rest) - 1, DRAWN - len(first)).astype(int)]
    extra = [] if best is None else [best]
    return np.unique(np.concatenate([first, fair, extra]).astype(int))


def _column(column: np.ndarray) -> list[Any]:
    if column.dtype.kind == "f":  # as printed: half the digits of a double
        return [float(str(v)) if math.isfinite(v) else None for v in column]
    return column.tolist()


def _packed(array: np.ndarray) -> str:
    """Return float32 in base64, row after row: a third of its size as text."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


@functools.cache
def _file(name: str) -> str:
    return resources.files("jopt.report").joinpath("web", name).read_text("utf-8")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs  # an extra, and slow to load
    except ImportError as error:
        raise ImportError(
            "report.html needs plotly, which is not installed: "
            "pip install 'jopt[report]'."
        ) from error
    return get_plotlyjs()


def _inside_script(text: str) -> str:
    return text.replace("<", "\\u003c")


def _shortened(value: Any, most: int = 32) -> Any:
    """Return a value with its long lists cut; sweep.json has them whole."""
    if isinstance(value, dict):
        return {name: _shortened(held, most) for name, held in value.items()}
    if isinstance(value, list) and len(value) > most:
        return [*map(_shortened, value[:most]), f"and {len(value) - most} more"]
    return [_shortened(v, most) for v in value] if isinstance(value, list) else value
