"""Resume the sweep of one record from its last segment."""

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jopt.sweep import _processes as processes
from jopt.sweep._folds import Folds
from jopt.sweep._group import compiled_groups
from jopt.sweep._loop import Loop
from jopt.sweep._plan import Plan
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import SweepResult
from jopt.sweep._run import check_alike, whole_header
from jopt.sweep._state import GOES_ON, State, asked_misfit, segment_misfit
from jopt.sweep._task import Task, streams_of
from jopt.sweep._trial import Trial, groups, repeated
from jopt.sweep.engine import Device
from jopt.sweep.store import (
    HEADER,
    RECORD,
    Kept,
    Store,
    damaged,
    found_by,
    header,
    misfit,
    read_header,
    read_segments,
    same,
    task_of,
    trials_of,
)


class Given(NamedTuple):
    """The arguments of `resume`."""

    task: Task | None = None
    trials: Sequence[Trial] | None = None  # of the part to resume
    trust: bool = False
    folds: Folds | None = None
    block: int | None = None
    devices: Sequence[Device] | None = None
    memory: int | None = None
    progress: Callable[[Progress], None] | None = None
    callbacks: Sequence[Callable[[Segment], None]] = ()
    timeout: float | None = None
    deadline: float | None = None  # derived from the timeout


class Found(NamedTuple):
    """The contents of a record, with objects in place of their names."""

    begun: dict[str, Any]  # as `header` returned it
    id: str  # of the sweep
    plan: Plan
    trials: Sequence[Trial]  # one a setting
    segments: list[Kept]  # the complete segments

    @property
    def every(self) -> list[Trial]:
        """The trials of all seeds and folds."""
        return repeated(self.trials, self.plan.seeds, self.plan.folds)

    @property
    def numbers(self) -> np.ndarray:
        """The trials' numbers in the whole sweep."""
        own = self.plan.numbers
        return np.arange(len(self.every)) if own is None else np.asarray(own)


def found(directory: Path, given: Given) -> Found:
    """Return the contents of the record in a directory, checked against `given`."""
    held = read_header(directory)
    _check_number(held, directory)
    begun, file = found_by(held, directory), directory / RECORD / HEADER
    if (said := asked_misfit(held)) is not None:
        raise damaged(file, said)
    asked, trust = held["asked"], given.trust
    task = task_of(begun, trust) if given.task is None else given.task
    plan = Plan.from_json(begun["options"], task, given.folds, trust)
    trials = trials_of(begun, trust) if given.trials is None else given.trials
    segments, said = read_segments(
        directory, held["id"], functools.partial(_misfit, asked)
    )
    if said is not None:
        warnings.warn(f"{said} The sweep goes back before it.", stacklevel=4)
    every = repeated(trials, plan.seeds, plan.folds)
    # Before any batch is drawn, so that no batch of a past step is drawn again.
    streams = streams_of(trial.task or task for trial in every)
    for notes in (segment.notes for segment in segments):
        for stream, state in zip(streams, notes["streams"], strict=False):
            stream.states |= {} if state is None else {notes["step"]: state}
    same(begun, task, trials, plan)
    sizes = len(every), plan.steps, plan.length
    if sizes != tuple(asked[n] for n in ("trials", "steps", "segment_steps")):
        raise damaged(file, "its trials or steps contradict each other")
    if plan.numbers is not None and len(set(plan.numbers)) != len(every):
        raise damaged(file, "its numbers contradict its trials")
    return Found(begun, held["id"], plan, trials, segments)


@processes.together()
def went_on(directory: Path, given: Given, steps: int | None = None) -> SweepResult:
    """Resume the sweep of a record, up to `steps` or its own end."""
    with Store(directory) as store:
        begun, store.id, plan, trials, segments = found(directory, given)
        longer = (steps or 0) > plan.steps
        if longer:
            plan, kept = _extended(plan, steps or 0)
            segments = segments[:kept]
        if given.block is not None:
            plan = plan.changed(blocks=(given.block,))
        check_alike(plan, trials)
        every, compiled = compiled_groups(plan, trials, given.devices, given.memory)
        state = State.of(every, compiled)
        if longer:
            store.forget(len(segments))
            options = {**begun["options"], **plan.sizes()}
            store.rewrite(whole_header({**begun, "options": options}, state))
        loop = Loop(state, given.progress, given.callbacks, store, given.deadline)
        loop.restore(segments)
        return loop.run()


def revived(
    source: Path,
    directory: Path,
    settings: Sequence[int],
    segment: int,
    given: Given,
) -> SweepResult:
    """Train pruned settings to the end, as a separate sweep without the pruner.

    Its record begins with the results of the earlier segments, and with the states that
    were kept when the trials were pruned.

    Args:
      source: the directory of the part that pruned them.
      directory: the directory of the new part.
      settings: indices of the settings among those of `source`.
      segment: the segment after which they were pruned.
      given: the arguments of `resume`; the trials are those of `source`.
    """
    was = found(source, given)
    each = len(was.every) // len(was.trials)
    rows = np.concatenate([np.arange(s * each, (s + 1) * each) for s in settings])
    pruned = was.segments[segment].arrays["pruned"]
    before = was.segments[segment - 1].arrays["pruned"] if segment else pruned & False
    parts = [np.asarray(part) for part in groups(was.every)]
    ended = [part[(pruned & ~before)[part]] for part in parts]
    trials = [was.trials[setting] for setting in settings]
    plan = alike(was.plan, given.block).changed(
        pruner=None, keep_pruned=False, numbers=tuple(was.numbers[rows].tolist())
    )
    with Store.new(directory, overwrite=False) as store:
        every, compiled = compiled_groups(plan, trials, given.devices, given.memory)
        state = State.of(every, compiled)
        own, shared = list[list[np.ndarray]](), list[Any]()
        kept = np.flatnonzero(pruned[rows])
        with Store(source) as held:
            for group in compiled:
                taken = group.rows(pruned[rows])
                here = rows[group.trials(taken)]
                there = next(part for part in ended if np.isin(here, part).any())
                like = [
                    np.empty((len(there), *leaf.shape[1:]), leaf.dtype)
                    for leaf in group.pool.read(np.zeros(1, int))
                ]
                tree = held.ended.restore(
                    {"own": like, "shared": group.pool.shared}, int(there[0]), was.id
                )
                leaves = [leaf[np.searchsorted(there, here)] for leaf in tree["own"]]
                order = group.pool.program.stacked.order_leaf
                leaves[order] = group.pool.read(taken)[order]  # renumbered
                own.append(leaves)
                shared.append(tree["shared"])
        begun = header(plan.task, trials, every, compiled, plan)
        store.begin(whole_header(begun, state))
        segments = [_part_of(each, rows, kept) for each in was.segments[: segment + 1]]
        for number, one in enumerate(segments[:-1]):
            store.keep(number, one.notes, one.arrays)
        store.save(segment, *segments[-1], {"own": own, "shared": shared})
        loop = Loop(state, given.progress, given.callbacks, store, given.deadline)
        loop.restore(segments)
        return loop.run()


def alike(plan: Plan, block: int | None = None) -> Plan:
    """Return the plan for other trials; groups of equal block size keep it."""
    blocks, scans = plan.blocks or (), plan.scans or ()
    if block is not None or len(set(blocks)) != 1 or len(set(scans)) != 1:
        size = max(blocks, default=None) if block is None else block
        return plan.changed(blocks=None if size is None else (size,), scans=None)
    return plan.changed(blocks=blocks[:1], scans=scans[:1])


def _check_number(held: dict[str, Any], directory: Path) -> None:
    """Raise ValueError if the record was written by another number of processes."""
    if (said := misfit(held, {"processes?": range(1, 2**31)})) is not None:
        raise damaged(directory / RECORD / HEADER, said)
    before, now = held.get("processes", 1), processes.number()
    if before != now:
        raise ValueError(
            f"The sweep in {directory} must be resumed by as many processes as began "
            f"it, {before}, since each keeps the states of its own trials; got {now}."
        )


def _part_of(segment: Kept, rows: np.ndarray, kept: np.ndarray) -> Kept:
    """Return some trials' results of a segment; none of them counts as pruned."""
    arrays = {name: array[rows] for name, array in segment.arrays.items()}
    arrays["pruned"] = np.zeros(len(rows), bool)
    return Kept({**segment.notes, "kept": kept.tolist()}, arrays)


def _misfit(asked: dict[str, Any], segment: int, kept: Kept) -> str | None:
    """Return what is wrong with a segment's file for a resume; None for nothing."""
    said = segment_misfit(asked, segment, kept) or misfit(kept.notes, GOES_ON)
    if said is None and max(kept.notes["kept"], default=0) >= asked["trials"]:
        return "a trial is kept that the sweep does not have"
    return said


def _extended(plan: Plan, steps: int) -> tuple[Plan, int]:
    """Return the plan with more steps, and the number of segments that stay valid."""
    acts = plan.pruner is not None or plan.population is not None
    again = acts or plan.steps % plan.length > 0
    kept = plan.segments - again
    return plan.changed(steps=steps, segment_steps=plan.length), kept
