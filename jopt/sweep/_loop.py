"""The loop of a sweep: segment by segment, group by group, block by block."""

import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from jopt.core import noted
from jopt.sweep._data import whole
from jopt.sweep._group import Group, reasons, trials_named
from jopt.sweep._interrupts import Interrupts
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import SweepResult
from jopt.sweep._state import State
from jopt.sweep._trial import stack
from jopt.sweep.engine import CallResult
from jopt.sweep.store import Kept, Store, surroundings

GENERATIONS = 2**32 - 2  # tells a generation's random numbers from an epoch's


class Loop:
    """Train the segments of a sweep that are left.

    Args:
      state: of the sweep, before its first segment.
      progress: called after each block.
      callbacks: called at the end of each segment.
      store: where the state is kept; None for nowhere.
    """

    def __init__(
        self,
        state: State,
        progress: Callable[[Progress], None] | None = None,
        callbacks: Sequence[Callable[[Segment], None]] = (),
        store: Store | None = None,
    ):
        self.state, self.store = state, store
        self.progress, self.callbacks = progress, callbacks
        rule = state.plan.pruner
        self.pruner = rule and rule.for_sweep(state.segments, len(state.settings))
        self.first = 0  # segment to train
        self.made = 0  # trial-steps, since this run began
        self.unsaved: str | None = None  # why the state is no longer kept
        self.best: dict[str, Any] | None = None
        self.writer = ThreadPoolExecutor(1, "jopt-store")
        self.writing: tuple[str, Future[None]] | None = None  # when, and what

    def restore(self, segments: Sequence[Kept]) -> None:
        """Go back to the newest state in the store, if there is one.

        `segments` are the whole ones that the store has, in order.
        """
        assert self.store is not None
        found = self.store.newest(segments, self.state.like)
        if found is not None:
            self.state.restore(found.segments)
            self.state.restore_pools(found.segments[-1].notes["kept"], found.tree)
            self.first = found.segment + 1

    def run(self) -> SweepResult:
        """Train, and return the result of the sweep."""
        self.began = time.perf_counter()
        last = self.state.segments - 1
        with self.writer:
            with Interrupts() as interrupts:
                for segment in range(self.first, last + 1):
                    if interrupts.asked or not self.state.history.going.any():
                        break
                    for group in self.state.groups:
                        self._train(group, segment)
                    before = self.state.history.pruned.copy()
                    if segment < last:
                        self._prune(segment)
                        self._evolve(segment)
                    self._keep(segment, self.state.history.pruned & ~before)
                    self._call_back(segment)
            seconds = time.perf_counter() - self.began
            return self._result(seconds, interrupts.asked)

    def _train(self, group: Group, segment: int) -> None:
        batches, history = group.plan.batches(segment), self.state.history
        rows, shared = group.rows(history.going), group.pool.shared
        waiting: list[tuple[np.ndarray, Callable[[], CallResult]]] = []
        for taken in group.pool.cut(rows):
            trials = group.positions[taken]
            with _in_segment(segment, trials):
                result = group.pool.train(taken, shared, batches)
            waiting.append((trials, result))
            if len(waiting) > 1:  # the device has the next block in the meantime
                self._record(segment, *waiting.pop(0))
                self._tell(segment)
        for trials, result in waiting:
            self._record(segment, trials, result)
        self._tell(segment, last_block=group is self.state.groups[-1])

    def _record(
        self, segment: int, trials: np.ndarray, result: Callable[[], CallResult]
    ) -> None:
        with _in_segment(segment, trials):
            found = result()
        self.made += self.state.history.record(trials, segment, found)

    def _prune(self, segment: int) -> None:
        if self.pruner is None:
            return
        history, settings = self.state.history, self.state.settings
        with noted(f"In {self.pruner} after segment {segment + 1}."):
            seen = history.observations(segment, settings)
            keep = self.pruner.kept(seen._replace(modes=self.state.plan.modes))
        for trials, kept in zip(settings, keep, strict=True):
            if not kept:
                history.pruned[trials] |= ~history.diverged[trials]

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
        (group,) = state.groups
        configs = stack([trial.config for trial in state.trials])
        group.pool.inherit(generation.parents, configs)
        state.history.inherit(generation.parents)
        state.at_hand = state.at_hand[generation.parents]

    def _keep(self, segment: int, pruned: np.ndarray) -> None:
        if self.store is None:
            return
        run = self._run(time.perf_counter() - self.began, interrupted=True)
        notes, tree = self.state.notes(segment, run), self.state.tree()
        # Copies, as the tree's arrays are: the next segment changes them.
        now = self.state.history.segment(segment)
        arrays = {name: np.array(array) for name, array in now.items()}
        when = f"after segment {segment + 1}"
        ended = self.state.ended(pruned) if self.state.plan.keep_pruned else {}
        self._save(when, lambda s: s.save(segment, notes, arrays, tree, ended))

    def _save(self, when: str, write: Callable[[Store], None]) -> None:
        """Begin to write to the store, once what was begun before is written.

        It is written while the devices train the next segment.
        """
        self._saved()
        if self.store is not None:
            self.writing = when, self.writer.submit(write, self.store)

    def _saved(self) -> None:
        """Wait until all is written; if that failed, warn, and go on in memory."""
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
        self._saved()  # what a callback looks at is on the disk
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
        )
        with noted(f"In progress, after a block of segment {now.segment}."):
            self.progress(now)

    def _result(self, seconds: float, interrupted: bool) -> SweepResult:
        """Return the result; only the winner is evaluated on the test set."""
        best = None if interrupted else self.state.winner(self.state.table())
        test = {} if best is None else self._tested(best)
        run = self._run(seconds, interrupted)
        self._save("at its end", lambda s: s.end({"best": best, "test": test, **run}))
        self._saved()
        return self.state.result({**run, "unsaved": self.unsaved}, best, test)

    def _tested(self, best: int) -> dict[str, float]:
        """Return the metrics of a trial on the test set; none without one."""
        for group in self.state.groups:
            row, task = group.row(best), group.plan.task
            if row is not None and task.test is not None:
                with noted(f"In the evaluation of trial {best} on the test set."):
                    return group.pool.evaluate(row, whole(task.name, "test", task.test))
        return {}

    def _run(self, seconds: float, interrupted: bool) -> dict[str, Any]:
        """Return what is known of the run: its programs, times and versions."""
        state = self.state
        programs = [group.pool.program for group in state.groups]
        return {
            "block": [program.block for program in programs],
            "strategy": ["scan" if p.scanned else "step" for p in programs],
            "convolves": any(p.stacked.convolves for p in programs),
            "groups": len(programs),
            "grouped_by": reasons(state.trials, state.groups),
            "segment_compiles": sum(program.compiles for program in programs),
            "compile_seconds": sum(group.compile_seconds for group in state.groups),
            "block_search": [g.search for g in state.groups if g.search is not None],
            "train_seconds": seconds,
            "trial_steps_this_run": self.made,
            "trial_steps_per_second": self.made / seconds,
            "interrupted": interrupted,
            "resumed_after": self.first or None,
            "unsaved": self.unsaved,
            **surroundings(),
        }


def _in_segment(segment: int, trials: np.ndarray) -> AbstractContextManager[None]:
    return noted(f"In segment {segment + 1} of {trials_named(trials.tolist())}.")
