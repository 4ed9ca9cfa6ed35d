"""The loop of a sweep: segment by segment, group by group, block by block."""

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np

from jopt.core import noted
from jopt.sweep import _processes as processes
from jopt.sweep._data import whole
from jopt.sweep._deadline import Deadline
from jopt.sweep._group import Group, reasons, trials_named
from jopt.sweep._interrupts import Interrupts
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import SweepResult
from jopt.sweep._state import State
from jopt.sweep._trial import stack
from jopt.sweep.engine import CallResult
from jopt.sweep.store import Kept, Store, surroundings

T = TypeVar("T")

GENERATIONS = 2**32 - 2  # separates generations' random numbers from epochs'


class Loop:
    """Train the remaining segments of a sweep.

    Args:
      state: the state of the sweep before its first segment.
      progress: called after each block.
      callbacks: called at the end of each segment.
      store: where the state is saved; None to keep nothing on disk.
      deadline: time of `time.perf_counter` by which segments must end; or None.
    """

    def __init__(
        self,
        state: State,
        progress: Callable[[Progress], None] | None = None,
        callbacks: Sequence[Callable[[Segment], None]] = (),
        store: Store | None = None,
        deadline: float | None = None,
    ):
        self.state, self.store = state, store
        self.deadline = Deadline(deadline)
        self.progress, self.callbacks = progress, callbacks
        rule = state.plan.pruner
        self.pruner = rule and rule.for_sweep(state.segments, len(state.settings))
        self.first = 0  # next segment to train
        self.made = 0  # trial-steps in this run
        self.unsaved: str | None = None  # why the state is no longer saved
        self.best: dict[str, Any] | None = None
        self.writer = ThreadPoolExecutor(1, "jopt-store")
        self.writing: tuple[str, Future[None]] | None = None  # in progress

    def restore(self, segments: Sequence[Kept]) -> None:
        """Restore the newest saved state, if there is one.

        `segments` are the store's complete segments, in order.
        """
        assert self.store is not None
        found = self.store.newest(segments, self.state.like)
        # Agree on the newest segment whose state every process has.
        while True:
            newest = -1 if found is None else found.segment
            every = processes.everyones(newest)
            if min(every) == max(every):
                break
            if newest > min(every):
                found = self.store.newest(segments[: min(every) + 1], self.state.like)
        if found is not None:
            self.state.restore(found.segments)
            self.state.restore_pools(found.segments[-1].notes["kept"], found.tree)
            self.first = found.segment + 1

    def run(self) -> SweepResult:
        """Train, and return the result of the sweep."""
        self.began = time.perf_counter()
        last, timed_out = self.state.segments - 1, False
        with self.writer:
            with Interrupts() as interrupts:
                for segment in range(self.first, last + 1):
                    asked = any(processes.everyones(interrupts.asked))
                    if asked or not self.state.history.going.any():
                        break
                    late = self.deadline.is_late(self._blocks())
                    timed_out = any(processes.everyones(late))
                    if timed_out:
                        break
                    self._train(segment)
                    before = self.state.history.pruned.copy()
                    if segment < last:
                        self._prune(segment)
                        self._evolve(segment)
                    self._keep(segment, self.state.history.pruned & ~before)
                    self._call_back(segment)
            seconds = time.perf_counter() - self.began
            asked = any(processes.everyones(interrupts.asked))
            return self._result(seconds, asked, timed_out)

    def _blocks(self) -> list[int]:
        """Return the number of blocks in the next segment, by group."""
        going = self.state.history.going
        return [
            math.ceil(len(group.rows(going)) / group.pool.program.width)
            for group in self.state.groups
        ]

    def _train(self, segment: int) -> None:
        groups = self.state.groups
        parts = [self._trained(number, segment) for number in range(len(groups))]
        for group, part in zip(groups, self._everyones(parts), strict=True):
            for trials, result, more in part:
                self.made += self.state.history.record(trials, segment, result)
                if more:
                    self._tell(segment)
            self._tell(segment, last_block=group is groups[-1])

    def _everyones(self, parts: list[Iterator[T]]) -> Sequence[Iterable[T]]:
        """Return the results of each group's blocks from all processes of the job."""
        if processes.number() == 1:
            return parts
        found = list(map(list, parts))
        self._saved()  # so no process is more than one saved state ahead
        every = zip(*processes.everyones(found), strict=True)
        return [itertools.chain(*of_group) for of_group in every]

    def _trained(
        self, number: int, segment: int
    ) -> Iterator[tuple[np.ndarray, CallResult, bool]]:
        """Train this process's trials of a group.

        Yields the trials of each block, their results, and whether more blocks follow.
        """
        began, group = time.perf_counter(), self.state.groups[number]
        batches, history = group.plan.batches(segment), self.state.history
        rows, shared = group.rows(history.going), group.pool.shared
        waiting: list[tuple[np.ndarray, Callable[[], CallResult]]] = []

        def first(more: bool) -> tuple[np.ndarray, CallResult, bool]:
            trials, result = waiting.pop(0)
            with _in_segment(segment, trials):
                return trials, result(), more

        blocks = group.pool.cut(rows)
        for taken in blocks:
            trials = group.trials(taken)
            with _in_segment(segment, trials):
                result = group.pool.train(taken, shared, batches)
            waiting.append((trials, result))
            if len(waiting) > 1:  # keep the device busy with the next block
                yield first(more=True)
        if waiting:
            yield first(more=False)
        self.deadline.trained(number, len(blocks), time.perf_counter() - began)

    def _prune(self, segment: int) -> None:
        if self.pruner is None:
            return
        history, settings = self.state.history, self.state.settings
        if self.state.plan.cools(segment, len(settings)):
            parts = [self._cooled(group, segment) for group in self.state.groups]
            for trials, steps, found in itertools.chain(*self._everyones(parts)):
                self.made += history.record_cooled(trials, segment, steps, found)
        with noted(f"In {self.pruner} after segment {segment + 1}."):
            seen = history.observations(segment, settings)
            keep = self.pruner.kept(seen._replace(modes=self.state.plan.modes))
        for trials, kept in zip(settings, keep, strict=True):
            if not kept:
                history.pruned[trials] |= ~history.diverged[trials]

    def _cooled(
        self, group: Group, segment: int
    ) -> Iterator[tuple[np.ndarray, int, CallResult]]:
        """Train copies of a group's trials with decaying rates, which a pruner judges.

        Yields the trials of each block, the steps of their copies, and their results.
        """
        steps, batches = group.plan.cooling(segment)
        rows, shared = group.rows(self.state.history.going), group.pool.shared
        for taken in group.pool.cut(rows):
            trials = group.trials(taken)
            with _in_segment(segment, trials, "the cooling after "):
                yield trials, steps, group.pool.cool(taken, shared, batches)()

    def _evolve(self, segment: int) -> None:
        state, population = self.state, self.state.plan.population
        if population is None or not population.due(segment, state.segments):
            return
        values = state.history.value(segment)
        settings = [trial.hyperparameters for trial in state.trials]
        random = state.plan.random(segment, GENERATIONS)
        with noted(f"In {population} after segment {segment + 1}."):
            generation = population.step(values, settings, random, segment)
        state.lineage.record(segment, state.step_after(segment), generation)
        state.change(generation.settings)
        self._inherit(generation.parents)
        state.history.inherit(generation.parents)
        state.at_hand = state.at_hand[generation.parents]

    def _inherit(self, parents: np.ndarray) -> None:
        """Copy parents into the pool's trials; a parent may be in another process."""
        (group,) = self.state.groups
        copies = parents != np.arange(len(parents))
        sent = group.rows(np.isin(np.arange(len(parents)), parents[copies]))
        every = processes.everyones((group.trials(sent), group.pool.read(sent)))
        known = np.concatenate([trials for trials, _ in every])
        place = np.zeros(len(parents), int)
        place[known] = np.arange(len(known))
        rows = group.rows(copies)
        taken = place[parents[group.trials(rows)]]
        held = zip(*(leaves for _, leaves in every), strict=True)
        leaves = [np.concatenate(parts)[taken] for parts in held]
        members = [self.state.trials[trial] for trial in group.share.positions]
        configs = stack([trial.config for trial in members])
        group.pool.inherit(rows, leaves, configs)

    def _keep(self, segment: int, pruned: np.ndarray) -> None:
        if self.store is None:
            return
        run = self._run(time.perf_counter() - self.began, interrupted=True)
        notes, tree = self.state.notes(segment, run), self.state.tree()
        # Copy the history's arrays as well: the next segment changes them.
        now = self.state.history.segment(segment)
        arrays = {name: np.array(array) for name, array in now.items()}
        when = f"after segment {segment + 1}"
        ended = self.state.ended(pruned) if self.state.plan.keep_pruned else {}
        self._save(when, lambda s: s.save(segment, notes, arrays, tree, ended))

    def _save(self, when: str, write: Callable[[Store], None]) -> None:
        """Start to write to the store, after the previous write has ended.

        The write overlaps with the training of the next segment.
        """
        self._saved()
        if self.store is not None:
            self.writing = when, self.writer.submit(write, self.store)

    def _saved(self) -> None:
        """Wait for the write in progress; if it failed, warn and continue in memory."""
        if self.writing is None or self.store is None:
            return
        (when, writing), self.writing = self.writing, None
        try:
            writing.result()
        except OSError as error:  # the sweep continues in memory: nothing is lost
            self.unsaved = (
                f"The sweep could not be saved {when} and went on in memory: "
                f"{error.strerror or error}."
            )
            warnings.warn(self.unsaved, stacklevel=2)
            self.store.close()
            self.store = None

    def _call_back(self, segment: int) -> None:
        if not self.callbacks:
            return
        self._saved()  # callbacks may read the files
        history = self.state.history
        now = Segment(
            number=segment + 1,
            segments=self.state.segments,
            step=self.state.step_after(segment),
            table=self.state.table(),
            valid={name: seen.copy() for name, seen in history.valid.items()},
            curves=history.losses.copy(),
            alive=history.going,
            best=self.state.best_row(),
            valid_steps=history.ends(),
        )
        for callback in self.callbacks:
            with noted(f"In the callback {callback!r} after segment {now.number}."):
                callback(now)

    def _tell(self, segment: int, last_block: bool = False) -> None:
        if self.progress is None:
            return
        if last_block:
            self.best = self.state.best_row()
        history = self.state.history
        going = history.going
        alive = int(np.count_nonzero(going))
        made = int(history.steps[going].sum())
        now = Progress(
            segment=segment + 1,
            segments=self.state.segments,
            alive=alive,
            trials=len(going),
            best=self.best,
            trial_steps=int(history.steps.sum()),
            trial_steps_left=alive * self.state.plan.steps - made,
            trial_steps_this_run=self.made,
            seconds=time.perf_counter() - self.began,
            last_block=last_block,
            convolves=self._convolves(),
        )
        with noted(f"In progress, after a block of segment {now.segment}."):
            self.progress(now)

    def _result(
        self, seconds: float, interrupted: bool, timed_out: bool
    ) -> SweepResult:
        """Return the result; test the winner if the sweep is complete."""
        best = None if interrupted else self.state.winner(self.state.table())
        tested = {} if best is None or timed_out else self._tested(best)
        test = {n: v for each in processes.everyones(tested) for n, v in each.items()}
        run = {**self._run(seconds, interrupted), "timed_out": timed_out}
        self._save("at its end", lambda s: s.end({"best": best, "test": test, **run}))
        self._saved()
        said = [each for each in processes.everyones(self.unsaved) if each is not None]
        run["unsaved"] = self.unsaved or next(iter(said), None)
        return self.state.result(run, best, test)

    def _convolves(self) -> bool:
        programs = (group.pool.program for group in self.state.groups)
        return any(program.stacked.convolves for program in programs)

    def _tested(self, best: int) -> dict[str, float]:
        """Return the test metrics of a trial; empty without a test set."""
        for group in self.state.groups:
            row, task = group.row(best), group.plan.task
            if row is not None and task.test is not None:
                with noted(f"In the evaluation of trial {best} on the test set."):
                    return group.pool.evaluate(row, whole(task.name, "test", task.test))
        return {}

    def _run(self, seconds: float, interrupted: bool) -> dict[str, Any]:
        """Return information on the run: programs, times and versions."""
        state = self.state
        programs = [group.pool.program for group in state.groups]
        return {
            "block": [program.block for program in programs],
            "strategy": ["scan" if p.scanned else "step" for p in programs],
            "convolves": self._convolves(),
            "processes": processes.number(),
            "groups": len(programs),
            "grouped_by": reasons(state.trials, state.groups),
            "segment_compiles": sum(program.compiles for program in programs),
            "compile_seconds": sum(group.compile_seconds for group in state.groups),
            "block_search": [g.search for g in state.groups if g.search is not None],
            "train_seconds": seconds,
            "trial_steps_this_run": self.made,
            "trial_steps_per_second": self.made / seconds,
            "interrupted": interrupted,
            "timed_out": False,
            "resumed_after": self.first or None,
            "unsaved": self.unsaved,
            **surroundings(),
        }


def _in_segment(
    segment: int, trials: np.ndarray, part: str = ""
) -> AbstractContextManager[None]:
    named = trials_named(trials.tolist())
    return noted(f"In {part}segment {segment + 1} of {named}.")
