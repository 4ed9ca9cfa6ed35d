"""The header of a record: what is swept, in the form that a resume needs."""

import dataclasses
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jopt.core import noted
from jopt.sweep import _object_names as object_names
from jopt.sweep._group import Group
from jopt.sweep._plan import Plan
from jopt.sweep._task import Task
from jopt.sweep._trial import Trial, repeated
from jopt.sweep.store._fingerprint import (
    differences,
    fingerprint,
    surroundings_differences,
)
from jopt.sweep.store._forms import damaged, misfit

HEADER = "header.json"
FORMAT = 3  # of the record; version 0.1 wrote a journal
SOURCE = "A task's source must name a Task, or a function without arguments"

_NUMBER = range(2**53)
_TASK = {
    "name": str,
    "diverged_above": float,
    "data": {str: (None, {"arrays": {str: str}, "sha256": str})},
    "state": {str: str},
    "code": {str: str},
}
_OPTIONS = {
    "steps": _NUMBER,
    "batch_size": _NUMBER,
    "segments": _NUMBER,
    "key": {"impl": str, "words": [range(2**32)]},
    "segment_steps?": (_NUMBER, None),
    "seeds?": (_NUMBER, [_NUMBER]),
    "folds?": _NUMBER,
    "metric?": str,
    "mode?": str,
    "shuffle?": str,
    "keep?": str,
    "valid_examples?": (_NUMBER, None),
    "blocks?": ([_NUMBER], None),
    "scans?": ([bool], None),
    "objectives?": {str: str},
    "bounds?": {str: [(float, None)]},
    "held_out?": (str, None),
    "numbers?": ([_NUMBER], None),
    "keep_pruned?": bool,
    "cut?": object,
    "pruner?": object,
    "population?": object,
}
# The schema of the result of `header`.
FORM = {
    "fingerprint": {
        "task": _TASK,
        "own_tasks": [_TASK],
        "trials": [
            {
                "setting": {str: object},
                "seed": _NUMBER,
                "fold": _NUMBER,
                "task": (_NUMBER, None),
                "batch_size": (_NUMBER, None),
                "config": str,
            }
        ],
        "options": {str: object},
        "surroundings": {"versions": {str: str}, "device": {str: object}},
    },
    "source": (str, None),
    "trials": [
        {
            "factory": object,
            "setting": {str: object},
            "seed": _NUMBER,
            "static?": [str],
        }
    ],
    "options": _OPTIONS,
}


def header(
    task: Task,
    trials: Sequence[Trial],
    every: Sequence[Trial],
    groups: Sequence[Group],
    options: Plan,
) -> dict[str, Any]:
    """Return the description of a sweep from which a resume restores it.

    `every` holds the trials of all seeds and folds.
    """
    programs = [group.pool.program for group in groups]
    ways = {
        "blocks": [program.block for program in programs],
        "scans": [program.scanned for program in programs],
    }
    return {
        "fingerprint": fingerprint(task, every, {}),
        "source": task.source,
        "trials": [
            {
                "factory": object_names.written(trial.factory),
                "setting": object_names.written(trial.hyperparameters),
                "seed": trial.seed,
                "static": list(trial.static),
            }
            for trial in trials
        ],
        "options": {**options.as_json(), **ways},
    }


def found_by(held: dict[str, Any], directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the part of a record's header that `header` returned.

    Raises ValueError if the record was saved from memory, or is damaged.
    """
    if held.get("sweep", held) is None:
        raise ValueError(
            f"The record in {directory} was saved from a sweep in memory and has no "
            "states to go on from; run the sweep with directory=."
        )
    said = misfit(held, {"sweep": FORM})
    known = {name.removesuffix("?") for name in _OPTIONS}
    if said is None and (new := held["sweep"]["options"].keys() - known):
        said = f"it has an option {min(new)[:80]!r}, which is unknown"
    if said is not None:
        raise damaged(Path(directory) / "record" / HEADER, said)
    return held["sweep"]


def task_of(header: dict[str, Any], trust: bool) -> Task:
    """Return the task, imported by its source.

    Raises ValueError if it has none, or one that is missing or not trusted.
    """
    if header["source"] is None:
        name = header["fingerprint"]["task"]["name"]
        raise ValueError(
            f"The sweep's task {name} has no source to find it by; give it again: "
            "sweep.resume(directory, task)."
        )
    source = header["source"]
    found = object_names.find(source, trust)
    made = found
    if callable(found):
        with noted(f"In {source}, by which the sweep's task is found. {SOURCE}."):
            made = found()
    if not isinstance(made, Task):
        raise ValueError(f"{SOURCE}, got {source}, which gives {type(made).__name__}.")
    return made


def trials_of(header: dict[str, Any], trust: bool) -> list[Trial]:
    """Return the trials, built again. Raises ValueError if that is impossible."""
    trials: list[Trial] = []
    for held in header["trials"]:
        factory = object_names.from_json(held["factory"], trust)
        if factory is None:
            raise ValueError(
                "The sweep's trials were made without a factory; give them again: "
                "sweep.resume(directory, task, trials)."
            )
        setting = object_names.from_json(held["setting"], trust)
        made = Trial.of(factory, setting, tuple(held.get("static", ())))
        trials.append(dataclasses.replace(made, seed=held["seed"]))
    return trials


def same(
    header: dict[str, Any], task: Task, trials: Sequence[Trial], options: Plan
) -> None:
    """Raise ValueError if something changed; warn if versions or devices changed."""
    every = repeated(trials, options.seeds, options.folds)
    then, now = header["fingerprint"], fingerprint(task, every, {})
    changes = differences(then, now)
    if not changes and header["options"].get("held_out") != options.held_out_digest:
        changes = ["folds: they hold out other examples."]
    if changes:
        raise ValueError(
            "The sweep cannot be resumed as another one: " + " ".join(changes)
        )
    others = surroundings_differences(then, now)
    if others:
        warnings.warn(
            "The sweep goes on elsewhere than it began, and may end otherwise than it "
            "would have there: " + " ".join(others),
            stacklevel=3,
        )
