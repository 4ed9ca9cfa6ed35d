"""Trials that share a program."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jopt.sweep._noted import noted, trials_named
from jopt.sweep._plan import Plan
from jopt.sweep._trial import Trial, shown_settings, stack
from jopt.sweep.engine import Data, Device, Lanes, Pool, given, pick


class Group(NamedTuple):
    """Trials that share a program: of one structure, task and batch size."""

    positions: np.ndarray  # int[trials], in the sweep
    plan: Plan
    pool: Pool
    search: dict[str, Any] | None  # what was timed to pick the block
    compile_seconds: float

    @classmethod
    def compiled(
        cls,
        plan: Plan,
        data: Data,
        trials: Sequence[Trial],
        positions: Sequence[int],
        block: int | None,
        devices: Sequence[Device] | None,
        memory: int | None,
    ) -> "Group":
        """Compile the program of these trials, those at `positions` of all.

        block: trials of a device; None: picked by timing.
        """
        began = time.perf_counter()
        members = [trials[i] for i in positions]
        search = None
        with noted(f"In the program of {trials_named(positions)} ({plan.task.name})."):
            txs, call = stack([trial.tx for trial in members]), plan.batches(0)[0]
            lanes = Lanes(plan.task, txs, plan.seeded(members), data, call)
            if block is None:
                program, search = pick(lanes, call, plan.steps, devices, memory)
            else:
                program = given(lanes, block, call, devices, memory)
            pool = Pool(program)
        seconds = time.perf_counter() - began - (search["seconds"] if search else 0)
        return cls(np.asarray(positions), plan, pool, search, seconds)

    def rows(self, among: np.ndarray) -> np.ndarray:
        """Return the rows of the pool of those trials that `among`, bool, has."""
        return np.flatnonzero(among[self.positions])

    def row(self, trial: int) -> int | None:
        """Return a trial's row of the pool; None if it is in another group."""
        found = np.flatnonzero(self.positions == trial)
        return int(found[0]) if len(found) else None


def reasons(trials: Sequence[Trial], groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return each group's size and block, and the hyperparameters that made it one."""
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
