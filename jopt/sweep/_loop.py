"""The loop of a sweep: segment by segment, group by group, block by block."""

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from jopt.sweep._group import Group
from jopt.sweep._interrupts import Interrupts
from jopt.sweep._noted import noted, trials_named
from jopt.sweep._outcome import Ending, result
from jopt.sweep._progress import Progress, Segment, Watchers
from jopt.sweep._result import SweepResult
from jopt.sweep._state import State
from jopt.sweep._trial import stack
from jopt.sweep.engine import Report
from jopt.sweep.store import Store

GENERATIONS = 2**32 - 2  # tells a generation's random numbers from an epoch's


class Engine:
    """Trains what is left to train of a sweep.

    watchers: who is told. store: where the state is kept; None: nowhere.
    """

    def __init__(self, state: State, watchers: Watchers, store: Store | None = None):
        self.state, self.watchers, self.store = state, watchers, store
        self.segments = state.segments
        rule = state.options.pruner
        self.pruner = rule and rule.for_sweep(self.segments, len(state.settings))
        self.first = 0  # segment to train
        self.made = 0  # trial-steps, since this run began
        self.unsaved: str | None = None  # why the state is no longer kept
        self.best: dict[str, Any] | None = None

    def restore(self) -> None:
        """Go back to the newest state in the store, if there is one."""
        assert self.store is not None
        found = self.store.newest(self.state.like)
        if found is not None:
            self.state.put_back(found)
            self.first = found.segment + 1

    def run(self) -> SweepResult:
        """Train, and return what came of the sweep."""
        self.began = time.perf_counter()
        last = self.segments - 1
        with Interrupts() as interrupts:
            for segment in range(self.first, last + 1):
                if interrupts.asked or not self.state.history.going.any():
                    break
                for group in self.state.groups:
                    self._train(group, segment)
                if segment < last:
                    self._prune(segment)
                    self._evolve(segment)
                self._keep(segment)
                self._call_back(segment)
        seconds = time.perf_counter() - self.began
        first, asked = self.first, interrupts.asked
        ending = Ending(seconds, self.made, asked, first, self.unsaved, self.pruner)
        return result(self.state, ending)

    def _train(self, group: Group, segment: int) -> None:
        batches, history = group.plan.batches(segment), self.state.history
        rows, shared = group.rows(history.going), group.pool.shared
        waiting: list[tuple[np.ndarray, Callable[[], Report]]] = []
        for taken in group.pool.cut(rows):
            trials = group.positions[taken]
            with _in_segment(segment, trials):
                report = group.pool.train(taken, shared, batches)
            waiting.append((trials, report))
            if len(waiting) > 1:  # the device has the next block while we look at this
                self._record(segment, *waiting.pop(0))
                self._tell(segment)
        for trials, report in waiting:
            self._record(segment, trials, report)
        self._tell(segment, last_block=group is self.state.groups[-1])

    def _record(
        self, segment: int, trials: np.ndarray, report: Callable[[], Report]
    ) -> None:
        with _in_segment(segment, trials):
            seen = report()
        self.made += self.state.history.record(trials, segment, seen)

    def _prune(self, segment: int) -> None:
        if self.pruner is None:
            return
        history, settings = self.state.history, self.state.settings
        with noted(f"In {self.pruner} after segment {segment + 1}."):
            keep = self.pruner.keep(history.reports(segment, settings))
        for trials, kept in zip(settings, keep, strict=True):
            if not kept:
                history.pruned[trials] |= ~history.diverged[trials]

    def _evolve(self, segment: int) -> None:
        state, population = self.state, self.state.options.population
        if population is None or not population.due(segment, self.segments):
            return
        losses = state.history.valid["loss"][:, segment].astype(float)
        values = np.where(state.history.diverged, np.inf, losses)
        settings = [trial.hyperparameters for trial in state.trials]
        random = state.plan.random(segment, GENERATIONS)
        with noted(f"In {population} after segment {segment + 1}."):
            generation = population.step(values, settings, random, segment)
        state.lineage.record(segment, state.step_after(segment), generation)
        state.change(generation.settings)
        (group,) = state.groups
        txs = stack([trial.tx for trial in state.trials])
        group.pool.inherit(generation.parents, txs)
        state.history.inherit(generation.parents)
        state.at_hand = state.at_hand[generation.parents]

    def _keep(self, segment: int) -> None:
        if self.store is None:
            return
        record, tree = self.state.record(segment), self.state.tree()
        try:
            self.store.save(segment, record, tree)
        except OSError as error:  # what is computed is not lost, it goes on in memory
            self.unsaved = (
                f"The sweep could not be saved after segment {segment + 1} and went on "
                f"in memory: {error.strerror or error}."
            )
            warnings.warn(self.unsaved, stacklevel=2)
            self.store.close()
            self.store = None

    def _call_back(self, segment: int) -> None:
        if not self.watchers.callbacks:
            return
        history = self.state.history
        now = Segment(
            number=segment + 1,
            segments=self.segments,
            step=self.state.step_after(segment),
            table=self.state.table(),
            valid={name: seen.copy() for name, seen in history.valid.items()},
            curves=history.losses.copy(),
            alive=history.going,
            best=self.state.best_row(),
        )
        self.watchers.call_back(now)

    def _tell(self, segment: int, last_block: bool = False) -> None:
        if self.watchers.progress is None:
            return
        if last_block:
            self.best = self.state.best_row()
        history = self.state.history
        going = history.going
        alive = int(np.count_nonzero(going))
        made = int(history.steps[going].sum())
        self.watchers.tell(
            Progress(
                segment=segment + 1,
                segments=self.segments,
                alive=alive,
                trials=len(going),
                best=self.best,
                trial_steps=int(history.steps.sum()),
                trial_steps_left=alive * self.state.plan.steps - made,
                trial_steps_this_run=self.made,
                seconds=time.perf_counter() - self.began,
                last_block=last_block,
            )
        )


def _in_segment(segment: int, trials: np.ndarray) -> AbstractContextManager[None]:
    return noted(f"In segment {segment + 1} of {trials_named(trials.tolist())}.")
