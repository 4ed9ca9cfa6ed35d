"""Groups of trials that share a program, and their compilation."""

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jopt.core import noted
from jopt.sweep import _processes as processes
from jopt.sweep._plan import Plan
from jopt.sweep._shown_values import shown_settings
from jopt.sweep._swept_constants import swept_constant
from jopt.sweep._task import check_task
from jopt.sweep._trial import Trial, groups, repeated, stack
from jopt.sweep.engine import (
    Data,
    Device,
    Pool,
    StackedTrials,
    as_devices,
    budget,
    program_of,
)

NAMED = 5  # trials that an error's note names


class Share(NamedTuple):
    """The trials of a group that this process trains; others train the rest."""

    positions: np.ndarray  # int[trials], positions in the sweep of the pool's trials
    trained: bool  # False if it has none; the pool then holds a placeholder

    @classmethod
    def of(cls, positions: Sequence[int], first: int, process: int) -> "Share":
        """Return a process's share, if processes take turns beginning with `first`."""
        number = processes.number()
        own = np.asarray(positions)[(process - first) % number :: number]
        return cls(own if len(own) else np.asarray(positions[:1]), len(own) > 0)


class Group(NamedTuple):
    """Trials that share a program: of one structure, task and batch size."""

    positions: np.ndarray  # int[trials], positions in the sweep
    share: Share  # whose trials are the pool's rows
    plan: Plan
    pool: Pool
    search: dict[str, Any] | None  # the timings that chose the block size
    compile_seconds: float

    @classmethod
    def compiled(
        cls,
        plan: Plan,
        data: Data,
        trials: Sequence[Trial],
        positions: Sequence[int],
        share: Share,
        way: tuple[int | None, bool | None],
        devices: Sequence[Device] | None,
        memory: int | None,
    ) -> "Group":
        """Compile the program of the trials at `positions`, or reuse one that is kept.

        `way` is (block, scanned). `block` is the number of trials on a device; None
        picks it by timing. `scanned` is whether a call scans over its steps; None lets
        the engine choose.
        """
        began = time.perf_counter()
        members = [trials[i] for i in share.positions]
        block, scanned = way
        with noted(f"In the program of {trials_named(positions)} ({plan.task.name})."):
            configs = stack([trial.config for trial in members])
            call = plan.call
            best_by = (plan.metric, plan.mode) if plan.keep == "best" else None
            starts = plan.starts(members, share.positions.tolist())
            stacked = StackedTrials(plan.task, configs, starts, data, call, best_by)
            given = devices, memory, scanned
            program, search = program_of(stacked, block, call, plan.steps, *given)
            if plan.cooled is not None:
                program.steps_of(plan.cooling(0)[1][0])
            pool = Pool(program)
        seconds = time.perf_counter() - began - (search["seconds"] if search else 0)
        return cls(np.asarray(positions), share, plan, pool, search, seconds)

    def rows(self, among: np.ndarray) -> np.ndarray:
        """Return the pool's rows whose trials `among` selects, bool[trials]."""
        return np.flatnonzero(among[self.share.positions] & self.share.trained)

    def trials(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions in the sweep of rows of the pool."""
        return self.share.positions[rows]

    def row(self, trial: int) -> int | None:
        """Return a trial's row; None if another group or another process has it."""
        found = np.flatnonzero(self.share.positions == trial)
        return int(found[0]) if len(found) and self.share.trained else None


def compiled_groups(
    plan: Plan,
    trials: Sequence[Trial],
    devices: Sequence[Device] | None,
    memory: int | None,
) -> tuple[list[Trial], list[Group]]:
    """Return the trials of all seeds and folds, and their groups, compiled."""
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            "A sweep is compiled programs and cannot run with jax_disable_jit; leave "
            "jax.disable_jit() for it, and call the task's functions on one batch to "
            "look inside them."
        )
    if not trials:
        raise ValueError("A sweep needs at least one trial, got none.")
    trials = repeated(trials, plan.seeds, plan.folds)
    own = {id(trial.task): trial for trial in reversed(trials)}
    for trial in own.values():
        size = plan.batch_size if trial.batch_size is None else trial.batch_size
        check_task(trial.task or plan.task, trial.config, plan.metrics, size)
    parts = groups(trials)
    plan.check(trials)
    if why := swept_constant(trials, parts):
        warnings.warn(f"The sweep compiles {len(parts)} programs: {why}.", stacklevel=3)
    blocks = plan.blocks or (None,)
    blocks = blocks * len(parts) if len(blocks) == 1 else blocks
    scans = plan.scans or (None,)
    scans = scans * len(parts) if len(scans) == 1 else scans
    room = budget(as_devices(devices), memory, held=0)
    # Make all plans before the first compilation, since one may be refused.
    plans = [
        plan.for_group(trials[positions[0]], room).for_orders(trials, positions)
        for positions in parts
    ]
    found: list[Group] = []
    data: dict[int, Data] = {}
    dealt = 0  # trials, dealt to the processes in turn
    ways = zip(blocks, scans, strict=True)
    for own, positions, (block, scanned) in zip(plans, parts, ways, strict=True):
        if id(own.task) not in data:
            data[id(own.task)] = own.data()
        share = Share.of(positions, dealt, processes.index())
        given = own, data[id(own.task)], trials, positions, share
        compiled = functools.partial(
            Group.compiled, *given, devices=devices, memory=memory
        )
        first = dealt % processes.number()
        found.append(_in_one_way(compiled, (block, scanned), first))
        dealt += len(positions)
    return trials, found


def _in_one_way(
    compiled: Callable[..., Group], way: tuple[int | None, bool | None], first: int
) -> Group:
    """Return a compiled group whose block size process `first` chooses for all."""
    if way[0] is not None or processes.number() == 1:
        return compiled(way)
    group = compiled(way) if processes.index() == first else None
    program = None if group is None else group.pool.program
    picked = None if program is None else (program.block, program.scanned)
    way = processes.everyones(picked)[first] or way
    return compiled(way) if group is None else group


def trials_named(trials: Sequence[int]) -> str:
    """Return trials by number, for a message; of many, the first few."""
    numbers = ", ".join(map(str, trials[:NAMED]))
    more = len(trials) - NAMED
    title = "trial" if len(trials) == 1 else "trials"
    return f"{title} {numbers}{f' and {more} more' if more > 0 else ''}"


def reasons(trials: Sequence[Trial], groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return each group's size, block, and the hyperparameters that set it apart."""
    every = shown_settings(trials)
    settings = [[every[i] for i in group.positions] for group in groups]
    known = dict.fromkeys(name for members in settings for s in members for name in s)
    values = [
        {name: list(dict.fromkeys(s.get(name) for s in members)) for name in known}
        for members in settings
    ]
    names = [
        name
        for name in known
        if all(len(found[name]) == 1 for found in values)
        and len({found[name][0] for found in values}) > 1
    ]
    return [
        {
            "trials": len(group.positions),
            "block": group.pool.program.block,
            "because": {name: found[name][0] for name in names},
        }
        for group, found in zip(groups, values, strict=True)
    ]
