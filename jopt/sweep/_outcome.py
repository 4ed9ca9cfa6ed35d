"""The result of a sweep, from its state when it ended."""

from typing import Any, NamedTuple

import numpy as np

from jopt.sweep._group import Group, reasons
from jopt.sweep._noted import noted
from jopt.sweep._result import Best, SweepResult, winner
from jopt.sweep._state import State
from jopt.sweep._trial import space
from jopt.sweep.pruners import Pruner
from jopt.sweep.store import surroundings


class Ending(NamedTuple):
    """How a run of a sweep went."""

    seconds: float  # of training
    made: int  # trial-steps in these seconds
    interrupted: bool
    first: int  # segment that it began with, after those it was resumed from
    unsaved: str | None  # why the state was no longer kept
    pruner: Pruner | None  # as it was for this sweep


def result(state: State, ending: Ending) -> SweepResult:
    """Return what came of a sweep; the test set is seen here, by the winner alone."""
    table = state.table()
    best = winner(state.settings, table)
    chosen = None if best is None or ending.interrupted else best
    return SweepResult(
        trials=tuple(state.trials),
        table=table,
        curves=state.history.losses,
        valid=state.history.valid,
        valid_steps=state.history.ends(),
        best=None if chosen is None else _best(state, table, chosen),
        info=_info(state, ending),
        lineage=None if state.options.population is None else state.lineage,
        _models=[_models(state, group) for group in state.groups],
        _settings=state.settings,
    )


def _models(state: State, group: Group) -> tuple[np.ndarray, Any, Any]:
    rows = group.rows(state.at_hand)
    return group.positions[rows], *group.pool.models(rows)


def _setting(state: State) -> list[int]:
    """The number of each trial's setting."""
    found = np.zeros(len(state.trials), int)
    for number, rows in enumerate(state.settings):
        found[rows] = number
    return found.tolist()


def _best(state: State, table: dict[str, np.ndarray], best: int) -> Best:
    test: dict[str, float] = {}
    for group in state.groups:
        row = group.row(best)
        if row is not None and group.plan.task.test is not None:
            with noted(f"In the evaluation of trial {best} on the test set."):
                test = group.pool.evaluate(row, group.plan.task.test)
    valid = {name: float(table[f"valid_{name}"][best]) for name in state.history.valid}
    trial = state.trials[best]
    return Best(best, trial.hyperparameters, trial.seed, valid, test, trial.fold)


def _info(state: State, ending: Ending) -> dict[str, Any]:
    plan, groups, pruner = state.plan, state.groups, ending.pruner
    settings = len(state.settings)
    rungs = [] if pruner is None else pruner.rungs(state.segments, settings)
    population = state.options.population
    return {
        "task": plan.task.name,
        "space": space(state.trials),
        "trials": len(state.trials),
        "setting": _setting(state),
        "seeds": len({trial.seed for trial in state.trials}),
        "folds": state.options.folds,
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "segments": state.segments,
        "pruner": None if pruner is None else repr(pruner),
        "rungs": [rung._asdict() for rung in rungs],
        "population": None if population is None else repr(population),
        "lineage": state.lineage.as_dict() if state.lineage.events else None,
        "block": [group.pool.program.block for group in groups],
        "groups": len(groups),
        "grouped_by": reasons(state.trials, groups),
        "segment_compiles": sum(group.pool.program.compiles for group in groups),
        "compile_seconds": sum(group.compile_seconds for group in groups),
        "block_search": [g.search for g in groups if g.search is not None],
        "train_seconds": ending.seconds,
        "trial_steps": int(state.history.steps.sum()),
        "trial_steps_this_run": ending.made,
        "trial_steps_per_second": ending.made / ending.seconds,
        "trial_steps_of_all": plan.steps * len(state.trials),
        "interrupted": ending.interrupted,
        "resumed_after": ending.first or None,
        "unsaved": ending.unsaved,
        **surroundings(),
    }
