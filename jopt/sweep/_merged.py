"""Merge the results of a sweep's parts, or of a search's batches, into one."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jopt.sweep._result import SweepResult
from jopt.sweep._shown_values import shown_settings
from jopt.sweep._state import ASKED, State
from jopt.sweep.proposals import Earlier
from jopt.sweep.store import HEADER, RECORD, SEARCH

BATCHES, CONFIRMED = "batches", "confirmed"  # subdirectories of a search


def merged(
    batches: Sequence[SweepResult],
    confirmed: SweepResult | None = None,
    interrupted: bool = False,
    numbers: Sequence[np.ndarray] | None = None,
) -> SweepResult:
    """Return the results of a sweep's parts, or of a search's batches, as one.

    Args:
      batches: results of at least one part, equal in everything asked for but the
        trials. A part that was not yet extended has fewer steps than the others.
      confirmed: the best settings trained with fresh seeds; the winner is one of them.
      interrupted: whether more parts were planned.
      numbers: the trial numbers of each part; a later part replaces the trials of an
        earlier one. By default the parts are numbered one after the other.
    """
    parts = [*batches, *([] if confirmed is None else [confirmed])]
    places = _in_order(parts) if numbers is None else numbers
    every = {
        int(number): trial
        for part, rows in zip(parts, places, strict=True)
        for number, trial in zip(rows, part.trials, strict=True)
    }
    trials = [every[number] for number in range(len(every))]
    longest = max((part.info for part in parts), key=lambda info: info["steps"])
    asked = {
        **{name: parts[0].info[name] for name in ASKED},
        **{name: longest[name] for name in ("steps", "segments")},
        "trials": len(trials),
        "confirms": 0 if confirmed is None else len(confirmed.trials),
        "setting": _settings(parts, places),
        "rungs": _rungs(batches),
    }
    state = State(asked, trials, ())
    for part, rows in zip(parts, places, strict=True):
        assert part._history is not None
        state.history.take(rows, part._history)
    best = state.winner(state.table())
    test, task = dict[str, float](), None
    for part, rows in zip(parts, places, strict=True):
        if best in rows:
            own = part.best is not None and rows[part.best.trial] == best
            test = part.best.test if own and part.best else {}
            task = part._task if own else None
    run = {**_run(parts), "interrupted": interrupted}
    models = [
        (rows[own], models)
        for part, rows in reversed(list(zip(parts, places, strict=True)))
        for own, models in part._models
    ]
    result = state.result(run, best, test)
    return dataclasses.replace(result, _models=models, _task=task)


def outcomes(result: SweepResult, objectives: Sequence[str]) -> Iterator[Earlier]:
    """Yield the outcome of each setting of a result."""
    table = result.table
    for rows in result._settings:
        statuses = set(table["status"][rows].tolist())
        names = [f"valid_{name}" for name in objectives]
        values = [float(table[name][rows].astype(float).mean()) for name in names]
        seen = result.valid[objectives[0]][rows].astype(float).mean(axis=0)
        finite = np.flatnonzero(np.isfinite(seen)) if len(objectives) == 1 else []
        observed = {int(segment) + 1: float(seen[segment]) for segment in finite}
        state: Any = "complete"  # or diverged, if a value is not finite
        if "diverged" not in statuses and "pruned" in statuses:
            state = "pruned"
        if statuses == {"interrupted"}:
            state = "failed"
        setting = result.trials[rows[0]].hyperparameters
        yield Earlier(setting, values, state, observed)


def parts_of(directory: Path) -> Iterable[Path]:
    """Yield the directories of a search's batches that have a segment, in order."""
    number = 0
    while has_segment(path := directory / BATCHES / str(number)):
        yield path
        number += 1


def sweeps_of(directory: Path) -> list[Path]:
    """Return the directories of a sweep's parts, its own first."""
    found = [directory]
    while (path := next_of(directory, len(found)) / RECORD / HEADER).exists():
        found.append(path.parent.parent)
    return found


def next_of(directory: Path, parts: int) -> Path:
    """Return the directory of a sweep's next part, after `parts` of them."""
    return directory / BATCHES / str(parts)


def confirmed_of(directory: Path) -> Path | None:
    """Return the directory of the confirming trials, if they have a segment."""
    path = directory / CONFIRMED
    return path if has_segment(path) else None


def is_search(directory: Path) -> bool:
    """Return whether a directory holds a search."""
    return (directory / SEARCH).exists()


def has_segment(directory: Path) -> bool:
    """Return whether the record in a directory has a segment."""
    return (directory / RECORD / "segments" / "0.npz").exists()


def _in_order(parts: Sequence[SweepResult]) -> list[np.ndarray]:
    """Return the trial numbers of parts that follow one another."""
    sizes = [len(part.trials) for part in parts]
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


def _settings(parts: Sequence[SweepResult], places: Sequence[np.ndarray]) -> list[int]:
    """Return each trial's setting number; each part's new settings get new numbers."""
    found, first = dict[int, int](), 0
    for part, rows in zip(parts, places, strict=True):
        numbers = zip(rows.tolist(), part.info["setting"], strict=True)
        found = {**{row: first + number for row, number in numbers}, **found}
        first = max(found.values()) + 1
    return [found[row] for row in range(len(found))]


def _rungs(batches: Sequence[SweepResult]) -> list[dict[str, Any]]:
    """Return a pruner's rungs, with the settings of all batches."""
    found: dict[Any, dict[str, Any]] = {}
    for rung in (rung for part in batches for rung in part.info["rungs"]):
        place = rung["bracket"], rung["segment"]
        known = found.setdefault(place, {**rung, "settings": 0, "kept": 0})
        for name in ("settings", "kept"):
            known[name] += rung[name]
    return list(found.values())


def _run(parts: Sequence[SweepResult]) -> dict[str, Any]:
    """Return information on the runs of all parts together."""
    infos = [part.info for part in parts]
    added = ("segment_compiles", "compile_seconds", "train_seconds")
    added += ("trial_steps_this_run",)
    sums = {name: sum(info[name] for info in infos) for name in added}
    kinds = _grouped(parts)
    last = infos[-1]
    rate = sums["trial_steps_this_run"] / max(sums["train_seconds"], 1e-9)
    unsaved = (info["unsaved"] for info in infos)
    same = ("versions", "device", "matmul_precision")
    return {
        **sums,
        "block": sorted({block for info in infos for block in info["block"]}),
        "strategy": sorted({way for info in infos for way in info["strategy"]}),
        "convolves": any(info["convolves"] for info in infos),
        "processes": last["processes"],
        "groups": len(kinds),
        "grouped_by": kinds,
        "block_search": [s for info in infos for s in info["block_search"]],
        "trial_steps_per_second": rate,
        "timed_out": last["timed_out"],
        "resumed_after": None,
        "unsaved": next((said for said in unsaved if said is not None), None),
        **{name: last[name] for name in same},
    }


def _grouped(parts: Sequence[SweepResult]) -> list[dict[str, Any]]:
    """Return the groups of each structure, with their trials in all parts."""
    several = [part for part in parts if len(part.info["grouped_by"]) > 1]
    # In a small group, hyperparameters may agree by chance. Keep those that agree in
    # every part.
    names = list(several[0].info["grouped_by"][0]["because"]) if several else []
    for group in (group for part in several for group in part.info["grouped_by"]):
        names = [name for name in names if name in group["because"]]
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        first = shown_settings(part.trials)[0]
        for group in part.info["grouped_by"]:
            values = group["because"] or first
            because = {name: values.get(name) for name in names}
            own = {**group, "trials": 0, "because": because}
            found.setdefault(repr(because), own)["trials"] += group["trials"]
    return list(found.values())
