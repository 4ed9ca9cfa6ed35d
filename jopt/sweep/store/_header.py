"""The first line of a journal: it says what sweep the others are of."""

import dataclasses
import warnings
from collections.abc import Sequence
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

SOURCE = "A task's source must name a Task, or a function without arguments"


def header(
    task: Task,
    trials: Sequence[Trial],
    every: Sequence[Trial],
    groups: Sequence[Group],
    options: Plan,
) -> dict[str, Any]:
    """Return the header of a sweep; `every` has the trials of all seeds and folds."""
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


def task_of(header: dict[str, Any]) -> Task:
    """Return the task by its source. Raises a ValueError if it has none or is gone."""
    if header["source"] is None:
        name = header["fingerprint"]["task"]["name"]
        raise ValueError(
            f"The sweep's task {name} has no source to find it by; give it again: "
            "sweep.resume(directory, task)."
        )
    source = header["source"]
    found = object_names.find(source)
    made = found
    if callable(found):
        with noted(f"In {source}, by which the sweep's task is found. {SOURCE}."):
            made = found()
    if not isinstance(made, Task):
        raise ValueError(f"{SOURCE}, got {source}, which gives {type(made).__name__}.")
    return made


def trials_of(header: dict[str, Any]) -> list[Trial]:
    """Return the trials, built again. Raises a ValueError if they cannot be."""
    trials: list[Trial] = []
    for held in header["trials"]:
        factory = object_names.from_json(held["factory"])
        if factory is None:
            raise ValueError(
                "The sweep's trials were made without a factory; give them again: "
                "sweep.resume(directory, task, trials)."
            )
        setting = object_names.from_json(held["setting"])
        made = Trial.of(factory, setting, tuple(held.get("static", ())))
        trials.append(dataclasses.replace(made, seed=held["seed"]))
    return trials


def same(
    header: dict[str, Any], task: Task, trials: Sequence[Trial], options: Plan
) -> None:
    """Raise a ValueError that says what changed; warn if versions or devices did."""
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
