"""The loop of a sweep: segment by segment, group by group, block by block."""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from jopt.core import noted
from jopt.sweep._data import whole
from jopt.sweep._equality import digest, same
from jopt.sweep._front import front, within
from jopt.sweep._group import Group, reasons, trials_named
from jopt.sweep._history import History
from jopt.sweep._interrupts import Interrupts
from jopt.sweep._progress import Progress, Segment
from jopt.sweep._result import Best, SweepResult, ranked, table_of, winner
from jopt.sweep._shown_values import columns, space
from jopt.sweep._task import streams_of
from jopt.sweep._trial import Trial, settings_of, stack
from jopt.sweep.engine import CallResult
from jopt.sweep.population import Event, Lineage, event_as_dict, event_from_dict
from jopt.sweep.store import Found, Store, surroundings

GENERATIONS = 2**32 - 2  # tells a generation's random numbers from an epoch's
DIGEST = "digest"  # the key of a value that a journal line holds by its digest alone


class State:
    """All that changes in a sweep, for a checkpoint and from one.

    Args:
      trials: of all seeds and folds.
      groups: of those trials, compiled.
    """

    def __init__(self, trials: Sequence[Trial], groups: Sequence[Group]):
        self.trials, self.groups = list(trials), groups
        self.columns = columns(trials)  # of hyperparameters
        self.plan = groups[0].plan
        self.segments = self.plan.segments
        sizes = self.plan.steps, self.plan.segments, self.plan.length
        self.goal = self.plan.metric, self.plan.mode
        self.history = History(len(trials), *sizes, *self.goal)
        # Members of a population differ from their first generation on.
        alone = [np.asarray([trial]) for trial in range(len(trials))]
        population = self.plan.population
        self.settings = settings_of(trials) if population is None else alone
        self.lineage = Lineage([trial.hyperparameters for trial in trials])
        self.at_hand = np.ones(len(trials), bool)  # whose parameters the pools have

    def step_after(self, segment: int) -> int:
        """Return the steps made at the end of a segment."""
        return int(self.history.ends()[segment])

    def table(self) -> dict[str, np.ndarray]:
        """Return the table as it is now."""
        table = table_of(self.trials, self.columns, self.history, self.plan.keep)
        if self.plan.bounds:
            table["within_bounds"] = within(self.settings, table, self.plan.bounds)
        return table

    def front(self, table: dict[str, np.ndarray]) -> list[int]:
        """Return the trials of the table that no other dominates."""
        objectives = self.plan.objectives or dict([self.goal])
        return front(self.settings, table, objectives, ranked(table, *self.goal))

    def best_row(self) -> dict[str, Any] | None:
        """Return the row of the table that is best now; None if all diverged."""
        table = self.table()
        best = winner(self.settings, table, *self.goal)
        return None if best is None else {name: v[best] for name, v in table.items()}

    def change(self, settings: Sequence[dict[str, Any]]) -> None:
        """Give the trials these hyperparameters."""
        self.trials = [
            trial if same(setting, trial.hyperparameters) else trial.changed(setting)
            for trial, setting in zip(self.trials, settings, strict=True)
        ]
        self.columns = columns(self.trials)

    def record(self, segment: int) -> dict[str, Any]:
        """Return the journal line of a segment that has just ended."""
        events = [e for e in self.lineage.events if e.segment == segment]
        streams = streams_of(group.plan.task for group in self.groups)
        step = self.step_after(segment)
        return {
            "step": step,
            "streams": [stream.state(step) for stream in streams],
            "kept": np.flatnonzero(self.kept()),
            "metrics": list(self.history.valid),
            "train_metrics": list(self.history.train),
            "best": self.best_row(),
            "generation": [event_as_dict(_by_digests(event)) for event in events],
        }

    def kept(self) -> np.ndarray:
        """Return whose parameters are kept, bool[trials].

        They are the trials still trained, and the one that wins if those diverge.
        """
        kept, table = self.history.going, self.table()
        name = f"valid_{self.plan.metric}"
        of_ended = {name: np.where(kept, np.nan, table[name])}
        best = winner(self.settings, {**table, **of_ended}, *self.goal)
        return kept if best is None else kept | (table["trial"] == best)

    def tree(self, kept: np.ndarray | None = None) -> dict[str, Any]:
        """Return the arrays of a checkpoint: the history, and the parameters kept."""
        kept = self.kept() if kept is None else kept
        return {
            "history": self.history.arrays(),
            "own": [group.pool.read(group.rows(kept)) for group in self.groups],
            "shared": [group.pool.shared for group in self.groups],
        }

    def like(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a tree of the shapes of the checkpoint that belongs to a record."""
        kept = np.isin(np.arange(len(self.trials)), record["kept"])
        seen = np.zeros((len(self.trials), self.segments), self.history.dtype)
        tree = self.tree(kept)
        tree["history"]["valid"] = dict.fromkeys(record["metrics"], seen)
        tree["history"]["train"] = dict.fromkeys(record["train_metrics"], seen)
        return tree

    def restore(self, found: Found) -> None:
        """Become what the sweep was when `found` was written."""
        self.history.restore(found.tree["history"])
        lines = [e for record in found.records for e in record["generation"]]
        events = self._recalled(map(event_from_dict, lines)) if lines else []
        self.lineage = Lineage(self.lineage.settings, events)
        self.change(self.lineage.last_settings())
        kept = found.records[-1]["kept"]
        self.at_hand = np.isin(np.arange(len(self.trials)), kept)
        own, shared = found.tree["own"], found.tree["shared"]
        for group, leaves, counters in zip(self.groups, own, shared, strict=True):
            group.pool.write(group.rows(self.at_hand), leaves, counters)

    def _recalled(self, events: Iterable[Event]) -> list[Event]:
        """Return events of a journal, with the values that it holds by a digest.

        Such a value is one that a trial began with, or that the population may give.
        """
        population = self.plan.population
        assert population is not None
        began = self.lineage.settings
        settings = [*began, *(s for b in began for s in population.reachable(b))]
        values = {
            digest(v): v for s in settings for v in s.values() if not _is_plain(v)
        }

        def recalled(setting: dict[str, Any]) -> dict[str, Any]:
            return {
                name: values[value[DIGEST]] if isinstance(value, dict) else value
                for name, value in setting.items()
            }

        return [
            event._replace(old=recalled(event.old), new=recalled(event.new))
            for event in events
        ]


def _by_digests(event: Event) -> Event:
    """Return an event for a journal line, which cannot hold arrays and functions."""

    def written(setting: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value if _is_plain(value) else {DIGEST: digest(value)}
            for name, value in setting.items()
        }

    return event._replace(old=written(event.old), new=written(event.new))


def _is_plain(value: Any) -> bool:
    """Return whether a journal line gives a value back as it was."""
    if type(value) is tuple:
        return all(map(_is_plain, value))
    plain = (bool, int, float, str, np.bool_, np.integer, np.floating)
    return value is None or isinstance(value, plain)


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

    def restore(self) -> None:
        """Go back to the newest state in the store, if there is one."""
        assert self.store is not None
        found = self.store.newest(self.state.like)
        if found is not None:
            self.state.restore(found)
            self.first = found.segment + 1

    def run(self) -> SweepResult:
        """Train, and return the result of the sweep."""
        self.began = time.perf_counter()
        last = self.state.segments - 1
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
        return self._result(time.perf_counter() - self.began, interrupts.asked)

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

    def _keep(self, segment: int) -> None:
        if self.store is None:
            return
        record, tree = self.state.record(segment), self.state.tree()
        try:
            self.store.save(segment, record, tree)
        except OSError as error:  # the sweep continues in memory: nothing is lost
            self.unsaved = (
                f"The sweep could not be saved after segment {segment + 1} and went on "
                f"in memory: {error.strerror or error}."
            )
            warnings.warn(self.unsaved, stacklevel=2)
            self.store.close()
            self.store = None

    def _call_back(self, segment: int) -> None:
        if not self.callbacks:
            return
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
        state, models = self.state, []
        table = state.table()
        best = winner(state.settings, table, *state.goal)
        chosen = None if best is None or interrupted else best
        best = None if chosen is None else self._best(table, chosen)
        info = self._info(table, seconds, interrupted)
        for group in state.groups:
            rows = group.rows(state.at_hand)
            models.append((group.positions[rows], group.pool.models(rows)))
        return SweepResult(
            trials=tuple(state.trials),
            table=table,
            curves=state.history.losses,
            valid=state.history.valid,
            train=state.history.train,
            valid_steps=state.history.ends(),
            best=best,
            info=info,
            lineage=None if state.plan.population is None else state.lineage,
            _models=models,
            _settings=state.settings,
        )

    def _best(self, table: dict[str, np.ndarray], best: int) -> Best:
        test: dict[str, float] = {}
        for group in self.state.groups:
            row = group.row(best)
            if row is not None and group.plan.task.test is not None:
                with noted(f"In the evaluation of trial {best} on the test set."):
                    task = group.plan.task
                    test = group.pool.evaluate(row, whole(task.name, "test", task.test))
        metrics, trial = self.state.history.valid, self.state.trials[best]
        valid = {name: float(table[f"valid_{name}"][best]) for name in metrics}
        return Best(best, trial.hyperparameters, trial.seed, valid, test, trial.fold)

    def _info(
        self, table: dict[str, np.ndarray], seconds: float, interrupted: bool
    ) -> dict[str, Any]:
        state, plan, pruner = self.state, self.state.plan, self.pruner
        groups, population = state.groups, plan.population
        trials, settings = len(state.trials), len(state.settings)
        rungs = [] if pruner is None else pruner.rungs(state.segments, settings)
        setting = np.zeros(trials, int)  # each trial's
        for number, rows in enumerate(state.settings):
            setting[rows] = number
        return {
            "task": plan.task.name,
            "metric": plan.metric,
            "mode": plan.mode,
            "keep": plan.keep,
            "objectives": dict(plan.objectives),
            "bounds": dict(plan.bounds),
            "front": state.front(table),
            "baseline": dict(plan.task.baseline or {}),
            "space": space(state.trials),
            "trials": trials,
            "setting": setting.tolist(),
            "seeds": len({trial.seed for trial in state.trials}),
            "shuffle": plan.shuffle,
            "folds": plan.folds,
            "steps": plan.steps,
            "batch_size": plan.batch_size,
            "segments": state.segments,
            "pruner": None if pruner is None else repr(pruner),
            "rungs": [rung._asdict() for rung in rungs],
            "population": None if population is None else repr(population),
            "lineage": state.lineage.as_dict() if state.lineage.events else None,
            "block": [group.pool.program.block for group in groups],
            "strategy": [
                "scan" if group.pool.program.scanned else "step" for group in groups
            ],
            "groups": len(groups),
            "grouped_by": reasons(state.trials, groups),
            "segment_compiles": sum(group.pool.program.compiles for group in groups),
            "compile_seconds": sum(group.compile_seconds for group in groups),
            "block_search": [g.search for g in groups if g.search is not None],
            "train_seconds": seconds,
            "trial_steps": int(state.history.steps.sum()),
            "trial_steps_this_run": self.made,
            "trial_steps_per_second": self.made / seconds,
            "trial_steps_of_all": plan.steps * trials,
            "interrupted": interrupted,
            "resumed_after": self.first or None,
            "unsaved": self.unsaved,
            **surroundings(),
        }


def _in_segment(segment: int, trials: np.ndarray) -> AbstractContextManager[None]:
    return noted(f"In segment {segment + 1} of {trials_named(trials.tolist())}.")
