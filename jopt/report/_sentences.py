"""The sentences of a page: the winner, the trials' outcomes, the facts of the run."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from jopt.report._labels import number
from jopt.report._learning import NoCurves, learning_curves
from jopt.report._record import Record
from jopt.sweep import column_of

STATUSES = ("complete", "pruned", "diverged", "interrupted")
NAMED = 6  # most hyperparameters in the headline
CONVOLVES = (
    "The model has convolutions of XLA's own, which are slow for trials side by side, "
    "and in loops on a CPU: with sweep.with_fast_convolutions(model) it may train "
    "faster."
)


def title(record: Record) -> str:
    """Return the page's title."""
    return f"{record.info.get('task', 'sweep')}: {_count(_trials(record), 'trial')}"


def headline(record: Record) -> str:
    """Return the sentence that names the winner, or says why there is none."""
    best = record.best
    if best is None:
        return no_winner(record)
    values = best.get("hyperparameters", {})
    varying = [name for name in values if column_of(name) in record.varying]
    chosen = varying or list(values)
    setting = ", ".join(
        f"{name}\N{NO-BREAK SPACE}{number(values[name])}" for name in chosen[:NAMED]
    )
    if (more := len(chosen) - NAMED) > 0:  # the table of the best settings has the rest
        setting += f" and {more} more"
    seen, where = best.get("test") or {}, "on the test set"
    if not seen:
        seen, where = best.get("valid") or {}, "on validation"
    metrics = _joined(
        f"{name}\N{NO-BREAK SPACE}{number(seen[name])}" for name in sorted(seen)
    )
    return f"Best is {setting or 'the only setting'}: {metrics} {where}."


def no_winner(record: Record) -> str:
    """Return the sentence that says why there is no winner."""
    statuses = set(record.table["status"].tolist())
    if statuses == {"diverged"}:
        return "Every trial diverged: try smaller values."
    if "interrupted" in statuses:
        return "The sweep was interrupted before there was a winner."
    if not record.table.get("within_bounds", np.ones(1)).any():
        bounds = _bounds(record.info)
        return f"No setting is within the bounds, {bounds}: try others, or widen them."
    return "No winner is recorded."


def remarks(record: Record) -> list[str]:
    """Return sentences on the front, the bounds, and the ends of the ranges."""
    info, found = record.info, []
    if objectives := info.get("objectives"):
        front = f"The front of {_joined(objectives)} has"
        found.append(f"{front} {_count(len(info['front']), 'setting')}.")
    if "within_bounds" in record.table and record.best is not None:
        within = [bool(record.table["within_bounds"][r[0]]) for r in record.settings()]
        out = f"{within.count(False)} of {_count(len(within), 'setting')}"
        found.append(f"Out of bounds ({_bounds(info)}): {out}.")
    if to_beat := _baselines(info):
        found.append(f"To beat: {'; '.join(to_beat)}.")
    if info.get("convolves") and _trials(record) > 1:
        found.append(CONVOLVES)
    best = record.best or {}
    for name, end in (best.get("at_ends") or {}).items():
        found.append(at_end(f"best {name}", best["hyperparameters"][name], end))
    return found


def fits(record: Record) -> list[str]:
    """Return a sentence if the winner over- or underfits."""
    if record.best is None:
        return []
    trial = int(record.best["trial"])
    try:
        found = learning_curves(record, trial)
    except NoCurves:
        return []
    return [] if found.verdict == "neither" else [found.sentence]


def at_end(what: str, value: Any, end: str) -> str:
    """Return a sentence on a value that is the smallest or largest one tried."""
    return f"The {what}, {number(value)}, is the {end} tried: extend the range."


def outcome(record: Record) -> str:
    """Return sentences on the trials' outcomes, and on time and compilations."""
    info, status = record.info, record.table["status"]
    counts = {name: int((status == name).sum()) for name in STATUSES}
    parts = [f"{count:,} {name}" for name, count in counts.items() if count]
    text = f"{_count(_trials(record), 'trial')}: {_joined(parts)}."
    if len(parts) == 1:
        name = next(name for name, count in counts.items() if count)
        text = f"{_count(_trials(record), 'trial')}, all {name}."
    full = _trials(record) * record.curves.shape[1]
    made = int(record.table["steps"].sum())
    if made < full:
        text += f" {1 - made / full:.0%} of the {full:,} trial-steps were saved."
    if "train_seconds" in info:
        text += f" Training took {shown_seconds(info['train_seconds'])}"
        if info.get("resumed_after"):
            text += " since it was resumed"
        if "compile_seconds" in info:
            text += f", compiling {shown_seconds(info['compile_seconds'])}"
        text += "."
    if "segment_compiles" in info:
        compiles = info["segment_compiles"]
        times = "once" if compiles == 1 else f"{compiles} times"
        text += f" The segment was compiled {times}."
    return text


def facts(record: Record) -> list[tuple[str, str]]:
    """Return the facts of the run as pairs of term and text."""
    info = record.info
    device = info.get("device") or {}
    fixed = [name for name in record.hyperparameters if name not in record.varying]
    folds = len(set(record.table["fold"].tolist())) if "fold" in record.table else 1
    found = {
        "Task": info.get("task"),
        "Steps of a trial": info.get("steps"),
        "Batch size": info.get("batch_size"),
        "Segments": info.get("segments"),
        "Metric": _goal(info),
        "Objectives": info.get("objectives"),
        "Bounds": _bounds(info),
        "Baselines": "; ".join(_baselines(info)),
        "Seeds": len(set(record.table["seed"].tolist())),
        "Folds": folds if folds > 1 else None,
        "Held fixed": ", ".join(
            f"{name}={number(record.table[name][0].item())}" for name in fixed
        ),
        "Pruner": info.get("pruner"),
        "Population": info.get("population"),
        "Device": _device(device),
        "Block": info.get("block"),
        "Structure groups": _groups(info),
        "Resumed after": info.get("resumed_after"),
        "Compiled": _times(info),
        "Training": _rate(info),
        "Matrix product precision": info.get("matmul_precision"),
        "Versions": info.get("versions"),
    }
    return [(term, _plain(v)) for term, v in found.items() if v not in (None, "", {})]


def _goal(info: dict[str, Any]) -> str | None:
    """Return the ranking metric in words, unless it is the loss."""
    metric, mode = info.get("metric", "loss"), info.get("mode", "min")
    if (metric, mode) == ("loss", "min"):
        return None
    return f"{metric}, the {'higher' if mode == 'max' else 'lower'} the better"


def _bounds(info: dict[str, Any]) -> str:
    """Return the bounds in words; empty without bounds."""
    parts: list[str] = []
    for name, (low, high) in (info.get("bounds") or {}).items():
        if low is None or high is None:
            end = (
                f"at most {number(high)}" if low is None else f"at least {number(low)}"
            )
        else:
            end = f"from {number(low)} to {number(high)}"
        parts.append(f"{name} {end}")
    return _joined(parts) if parts else ""


def _baselines(info: dict[str, Any]) -> list[str]:
    """Return each baseline with its values on validation and on the test set."""
    found: list[str] = []
    for name, values in (info.get("baseline") or {}).items():
        parts: list[str] = []
        for prefix, where in (("", "on validation"), ("test_", "on the test set")):
            own = [
                f"{metric.removeprefix(prefix)}\N{NO-BREAK SPACE}{number(value)}"
                for metric, value in values.items()
                if metric.startswith("test_") == bool(prefix)
            ]
            if own:
                parts.append(f"{', '.join(own)} {where}")
        if parts:
            found.append(f"{name}, {_joined(parts)}")
    return found


def _trials(record: Record) -> int:
    return len(record.table["trial"])


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _joined(parts: Iterable[str]) -> str:
    *first, last = list(parts) or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def shown_seconds(seconds: float) -> str:
    """Return a duration in a suitable unit."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _times(info: dict[str, Any]) -> str | None:
    if "segment_compiles" not in info or "compile_seconds" not in info:
        return None
    seconds = shown_seconds(info["compile_seconds"])
    return f"{_count(info['segment_compiles'], 'program')} in {seconds}"


def _groups(info: dict[str, Any]) -> str | None:
    """Return a sentence on the number of programs and how they differ."""
    if "groups" not in info:
        return None
    groups = info.get("grouped_by") or [{}]
    names = _joined(groups[0].get("because") or ["the optimizer's structure"])
    return f"{info['groups']}, by {names}" if info["groups"] > 1 else "1"


def _rate(info: dict[str, Any]) -> str | None:
    if not {"trial_steps", "train_seconds", "trial_steps_per_second"} <= set(info):
        return None
    # After a resume, the seconds are those of the last run only.
    made = info.get("trial_steps_this_run", info["trial_steps"])
    return (
        f"{made:,} trial-steps in {shown_seconds(info['train_seconds'])}, "
        f"{info['trial_steps_per_second']:,.0f} a second"
    )


def _device(device: dict[str, Any]) -> str:
    names = dict.fromkeys(
        str(device.get(key, "")) for key in ("count", "platform", "kind")
    )
    return " ".join(name for name in names if name)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number(held)}" for name, held in value.items())
    if isinstance(value, list):
        return ", ".join(map(number, value))
    return number(value)
