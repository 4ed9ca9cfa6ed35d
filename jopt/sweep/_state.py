"""The state of a sweep, and the form in which its record holds it."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jopt.sweep import _processes as processes
from jopt.sweep._equality import digest, same
from jopt.sweep._front import front, within
from jopt.sweep._group import Group
from jopt.sweep._history import KINDS, History
from jopt.sweep._plan import Plan
from jopt.sweep._result import Best, SweepResult, ranked, table_of, winner
from jopt.sweep._shown_values import columns, shown, shown_settings, space
from jopt.sweep._task import Task, streams_of
from jopt.sweep._trial import Trial, settings_of
from jopt.sweep.population import Event, Lineage, event_as_dict, event_from_dict
from jopt.sweep.store import Kept, misfit

DIGEST = "digest"  # the key of a value that a record holds only as a digest
SHOWN = "shown"  # the key of its text

# The schema of a record's `asked`: what was asked of the sweep.
ASKED: dict[str, Any] = {
    "task": str,
    "metric": str,
    "mode": str,
    "keep": str,
    "objectives": {str: str},
    "bounds": {str: [(float, None)]},
    "baseline": {str: {str: float}},
    "trials": range(1, 2**31),
    "confirms": range(2**31),
    "setting": [range(2**31)],
    "seeds": range(1, 2**31),
    "shuffle": str,
    "folds": range(1, 2**31),
    "steps": range(1, 2**31),
    "segment_steps": range(1, 2**31),
    "batch_size": range(2**53),
    "segments": range(1, 2**31),
    "pruner": (str, None),
    "rungs": [dict],
    "population": (str, None),
}

# The schema of the information on a run: programs, times and versions.
_RUN = {
    "block": [range(2**31)],
    "strategy": [str],
    "convolves": bool,
    "processes": range(1, 2**31),
    "groups": range(2**31),
    "grouped_by": [{"trials": range(2**31), "block": range(2**31), "because": dict}],
    "segment_compiles": range(2**31),
    "compile_seconds": float,
    "block_search": [dict],
    "train_seconds": float,
    "trial_steps_this_run": range(2**63),
    "trial_steps_per_second": float,
    "interrupted": bool,
    "timed_out": bool,
    "resumed_after": (range(2**31), None),
    "unsaved": (str, None),
    "versions": {str: str},
    "device": {"platform": str, "kind": str, "count": range(2**31)},
    "matmul_precision": (str, None),
}
# Facts that older records lack, and what they were.
ADDED = {"timed_out": False, "processes": 1}
RUN = {f"{n}?" if n in ADDED else n: form for n, form in _RUN.items()}


def run_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a run, for a record, of a result's info."""
    return {name: info[name] for name in _RUN}


class State:
    """The state of a sweep: its history, its lineage, and the pools of its trials.

    Args:
      asked: what the sweep was asked for, as `asked_of` returns it.
      trials: the trials of all seeds and folds.
      groups: the compiled groups of the trials; empty for a state that is only read.
    """

    def __init__(
        self, asked: dict[str, Any], trials: Sequence[Trial], groups: Sequence[Group]
    ):
        self.asked, self.trials, self.groups = asked, list(trials), groups
        self.columns = columns(trials)  # columns of hyperparameters
        self.segments: int = asked["segments"]
        self.goal = asked["metric"], asked["mode"]
        sizes = asked["steps"], asked["segments"], asked["segment_steps"]
        self.history = History(len(trials), *sizes, *self.goal)
        numbers = np.asarray(asked["setting"])
        self.settings = [np.flatnonzero(numbers == n) for n in np.unique(numbers)]
        self.lineage = Lineage([trial.hyperparameters for trial in trials])
        self.at_hand = np.ones(len(trials), bool)  # which trials the pools have

    @classmethod
    def of(cls, trials: Sequence[Trial], groups: Sequence[Group]) -> "State":
        """Return the state of a sweep before its first segment."""
        return cls(asked_of(groups[0].plan, trials), trials, groups)

    @property
    def plan(self) -> Plan:
        """The plan of the first group."""
        return self.groups[0].plan

    def step_after(self, segment: int) -> int:
        """Return the steps made at the end of a segment."""
        return int(self.history.ends()[segment])

    def table(self) -> dict[str, np.ndarray]:
        """Return the table as it is now."""
        keep, bounds = self.asked["keep"], self.asked["bounds"]
        table = table_of(self.trials, self.columns, self.history, keep)
        if bounds:
            table["within_bounds"] = within(self.settings, table, bounds)
        if confirms := self.asked["confirms"]:  # the last trials confirm
            table["confirmed"] = table["trial"] >= len(self.trials) - confirms
        return table

    def winner(self, table: dict[str, np.ndarray]) -> int | None:
        """Return the best trial of the table; None if all diverged."""
        return winner(self.settings, table, *self.goal)

    def best_row(self) -> dict[str, Any] | None:
        """Return the row of the best trial so far; None if all diverged."""
        table = self.table()
        best = self.winner(table)
        return None if best is None else {name: v[best] for name, v in table.items()}

    def change(self, settings: Sequence[dict[str, Any]]) -> None:
        """Give each trial its hyperparameters from `settings`."""

        def changed(trial: Trial, setting: dict[str, Any]) -> Trial:
            if same(setting, trial.hyperparameters):
                return trial
            if not self.groups:
                return dataclasses.replace(trial, hyperparameters=setting)
            return trial.changed(setting)

        self.trials = list(map(changed, self.trials, settings))
        self.columns = columns(self.trials)

    def notes(self, segment: int, run: dict[str, Any]) -> dict[str, Any]:
        """Return the notes that a segment's record holds beside its arrays."""
        streams = streams_of(group.plan.task for group in self.groups)
        step = self.step_after(segment)
        return {
            **notes_of(segment, self.history, self.lineage),
            "streams": [stream.state(step) for stream in streams],
            "kept": np.flatnonzero(self.kept()),
            "run": run,
        }

    def kept(self) -> np.ndarray:
        """Return which trials' parameters are saved, bool[trials].

        They are the trials still in training, and the winner if those diverge.
        """
        kept, table = self.history.going, self.table()
        name = f"valid_{self.asked['metric']}"
        of_ended = {name: np.where(kept, np.nan, table[name])}
        best = self.winner({**table, **of_ended})
        return kept if best is None else kept | (table["trial"] == best)

    def tree(self, kept: np.ndarray | None = None) -> dict[str, Any]:
        """Return the arrays of a checkpoint: the pools' rows of the trials to save."""
        kept = self.kept() if kept is None else kept
        return {
            "own": [group.pool.read(group.rows(kept)) for group in self.groups],
            "shared": [group.pool.shared for group in self.groups],
        }

    def ended(self, pruned: np.ndarray) -> dict[int, dict[str, Any]]:
        """Return the pools' rows of pruned trials, by the first trial of each group."""
        found: dict[int, dict[str, Any]] = {}
        for group in self.groups:
            rows = group.rows(pruned)
            if len(rows):
                own, shared = group.pool.read(rows), group.pool.shared
                found[int(group.trials(rows)[0])] = {"own": own, "shared": shared}
        return found

    def like(self, notes: dict[str, Any]) -> dict[str, Any]:
        """Return shapes like the checkpoint of a segment with these notes."""
        return self.tree(np.isin(np.arange(len(self.trials)), notes["kept"]))

    def restore(self, segments: Sequence[Any]) -> None:
        """Load segments from the first on; the pools stay as they are."""
        self.history.restore([(s.notes, s.arrays) for s in segments])
        lines = [e for s in segments for e in s.notes["generation"]]
        events = self._recalled([event_from_dict(line) for line in lines])
        self.lineage = Lineage(self.lineage.settings, events)
        self.change(self.lineage.last_settings())

    def restore_pools(self, kept: Sequence[int], tree: dict[str, Any]) -> None:
        """Fill the pools from a checkpoint, which holds the trials `kept`."""
        self.at_hand = np.isin(np.arange(len(self.trials)), kept)
        parts = zip(self.groups, tree["own"], tree["shared"], strict=True)
        for group, leaves, counters in parts:
            group.pool.write(group.rows(self.at_hand), leaves, counters)

    def result(
        self, run: dict[str, Any], best: int | None, test: dict[str, float]
    ) -> SweepResult:
        """Return the result.

        Args:
          run: information on the run: blocks, times, versions.
          best: the winner, or None.
          test: the winner's metrics on the test set.
        """
        table, models = self.table(), []
        for group in self.groups:
            rows = group.rows(self.at_hand)
            held = group.trials(rows), group.pool.kept(rows)
            for trials, leaves in processes.everyones(held):
                models.append((trials, group.pool.joined(len(trials), leaves)))
        return SweepResult(
            trials=tuple(self.trials),
            table=table,
            curves=self.history.losses,
            valid=self.history.valid,
            train=self.history.train,
            cooled=self.history.cooled,
            valid_steps=self.history.ends(),
            best=None if best is None else self._best(table, best, test),
            info=self._info(table, run),
            lineage=None if self.asked["population"] is None else self.lineage,
            _models=models,
            _settings=self.settings,
            _history=self.history,
            _task=self._task_of(best),
        )

    def _task_of(self, best: int | None) -> Task | None:
        """Return the winner's task, from the plan of its group."""
        if best is None:
            return None
        plans = (group.plan for group in self.groups if best in group.positions)
        return next((plan.task for plan in plans), None)

    def _best(
        self, table: dict[str, np.ndarray], best: int, test: dict[str, float]
    ) -> Best:
        trial = self.trials[best]
        valid = {n: float(table[f"valid_{n}"][best]) for n in self.history.valid}
        return Best(best, trial.hyperparameters, trial.seed, valid, test, trial.fold)

    def _info(
        self, table: dict[str, np.ndarray], run: dict[str, Any]
    ) -> dict[str, Any]:
        asked = self.asked
        objectives = asked["objectives"] or dict([self.goal])
        ranks = ranked(table, *self.goal)
        return {
            **asked,
            "front": front(self.settings, table, objectives, ranks),
            "space": space(self.trials),
            "lineage": self.lineage.as_dict() if self.lineage.events else None,
            "trial_steps": int(self.history.steps.sum()),
            "trial_steps_of_all": asked["steps"] * asked["trials"],
            **run,
        }

    def _recalled(self, events: Sequence[Event]) -> list[Event]:
        """Return events with values in place of the digests that the record holds.

        Such a value is one that a trial began with, or that the population may give. A
        state that is only read has the values' texts instead.
        """
        known: dict[str, Any] = {}
        if self.groups and any(map(_has_digest, events)):
            population = self.plan.population
            assert population is not None
            began = self.lineage.settings
            settings = [*began, *(s for b in began for s in population.reachable(b))]
            values = (v for s in settings for v in s.values() if not _is_plain(v))
            known = {digest(value): value for value in values}

        def recalled(setting: dict[str, Any]) -> dict[str, Any]:
            return {
                name: (
                    known.get(value[DIGEST], value[SHOWN])
                    if isinstance(value, dict)
                    else value
                )
                for name, value in setting.items()
            }

        return [e._replace(old=recalled(e.old), new=recalled(e.new)) for e in events]


# The schema of a segment's notes, as far as a result needs them.
EVENT = {
    "segment": range(2**31),
    "step": range(2**31),
    "child": range(2**31),
    "parent": range(2**31),
    "old": {str: (bool, float, str, list, None, {DIGEST: str, SHOWN: str})},
    "new": {str: (bool, float, str, list, None, {DIGEST: str, SHOWN: str})},
}
NOTES = {"metrics": [str], "train_metrics": [str], "cooled_metrics?": [str]}
NOTES |= {"generation": [EVENT]}


# The schema of the notes that a resume needs.
GOES_ON = {
    "step": range(2**31),
    "streams": [({"epoch": range(-1, 2**31), "iterator": object}, None)],
    "kept": [range(2**31)],
}


def asked_misfit(header: dict[str, Any]) -> str | None:
    """Return what is wrong with the `asked` of a header; None for nothing."""
    if (said := misfit(header, {"asked": ASKED})) is not None:
        return said
    asked = header["asked"]
    steps, length, segments = (
        asked[name] for name in ("steps", "segment_steps", "segments")
    )
    if math.ceil(steps / length) != segments:
        return f"{steps} steps are not {segments} segments of {length}"
    if len(asked["setting"]) != asked["trials"]:
        return f"setting must have {asked['trials']} numbers"
    if not {asked["mode"], *asked["objectives"].values()} <= {"min", "max"}:
        return 'a mode must be "min" or "max"'
    if any(len(bound) != 2 for bound in asked["bounds"].values()):
        return "bounds must be pairs"
    return None


def segment_misfit(asked: dict[str, Any], segment: int, kept: Kept) -> str | None:
    """Return what is wrong with a segment's file, given `asked`; None for nothing."""
    if (said := misfit(kept.notes, NOTES)) is not None:
        return said
    trials, steps, length = (asked[n] for n in ("trials", "steps", "segment_steps"))
    made = min(length, steps - segment * length)
    if made < 1:
        return "the sweep has no such segment"
    if kept.notes.get("step", segment * length + made) != segment * length + made:
        return "it is of another segment"
    kinds = {"losses": "f", "steps": "i", "died": "i", "pruned": "b"}
    for names, kind in KINDS.items():
        kinds |= {f"{kind}-{n}": "f" for n in range(len(kept.notes.get(names, [])))}
    for name, kind in kinds.items():
        shape = (trials, made) if name == "losses" else (trials,)
        found = kept.arrays.get(name)
        if found is None or found.shape != shape or found.dtype.kind != kind:
            return f"its array {name} is missing, or of another shape or dtype"
    for name, end in {"steps": steps + 1, "died": asked["segments"]}.items():
        found = kept.arrays[name]
        if found.min() < -1 or found.max() >= end:
            return f"its array {name} is out of range"
    for event in kept.notes["generation"]:
        if max(event["child"], event["parent"]) >= trials or event["segment"] > segment:
            return "an event is of a trial or segment that the sweep does not have"
    if asked["metric"] not in kept.notes["metrics"]:
        return f"it has no metric {asked['metric'][:80]}"
    return None


def asked_of(plan: Plan, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return what a sweep was asked for, for its record and its result's `info`."""
    # Members of a population differ after their first generation.
    alone = [np.asarray([trial]) for trial in range(len(trials))]
    settings = settings_of(trials) if plan.population is None else alone
    setting = np.zeros(len(trials), int)  # setting of each trial
    for number, rows in enumerate(settings):
        setting[rows] = number
    pruner, population = plan.pruner, plan.population
    sizes = plan.segments, len(settings)
    pruner = pruner and pruner.for_sweep(*sizes)
    rungs = [] if pruner is None else pruner.rungs(*sizes)
    return {
        "task": plan.task.name,
        "metric": plan.metric,
        "mode": plan.mode,
        "keep": plan.keep,
        "objectives": dict(plan.objectives),
        "bounds": dict(plan.bounds),
        "baseline": _baseline(plan),
        "trials": len(trials),
        "confirms": 0,
        "setting": setting.tolist(),
        "seeds": len({trial.seed for trial in trials}),
        "shuffle": plan.shuffle,
        "folds": plan.folds,
        "steps": plan.steps,
        "segment_steps": plan.length,
        "batch_size": plan.batch_size,
        "segments": plan.segments,
        "pruner": None if pruner is None else repr(pruner),
        "rungs": [rung._asdict() for rung in rungs],
        "population": None if population is None else repr(population),
    }


def _baseline(plan: Plan) -> dict[str, dict[str, float]]:
    """Return the task's baselines; with folds, without the values on `valid`."""
    given = {name: dict(v) for name, v in (plan.task.baseline or {}).items()}
    if plan.folds == 1:
        return given
    # A fold validates on other examples than the task does.
    return {
        name: {n: value for n, value in values.items() if n.startswith("test_")}
        for name, values in given.items()
    }


def shown_trials(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return the trials for a record, with hyperparameters as tables show them."""
    return [
        {"setting": setting, "seed": trial.seed, "fold": trial.fold}
        for trial, setting in zip(trials, shown_settings(trials), strict=True)
    ]


def notes_of(segment: int, history: History, lineage: Lineage) -> dict[str, Any]:
    """Return the notes of a segment that its result needs."""
    events = [event for event in lineage.events if event.segment == segment]
    return {
        **{names: list(getattr(history, kind)) for names, kind in KINDS.items()},
        "step": int(history.ends()[segment]),
        "generation": [event_as_dict(_by_digests(event)) for event in events],
    }


def _by_digests(event: Event) -> Event:
    """Return an event for a record, with digests of its arrays and functions."""

    def written(setting: dict[str, Any]) -> dict[str, Any]:
        return {
            name: (
                value
                if _is_plain(value)
                else {DIGEST: digest(value), SHOWN: shown(value)}
            )
            for name, value in setting.items()
        }

    return event._replace(old=written(event.old), new=written(event.new))


def _has_digest(event: Event) -> bool:
    values: Iterable[Any] = (*event.old.values(), *event.new.values())
    return any(isinstance(value, dict) for value in values)


def _is_plain(value: Any) -> bool:
    """Return whether JSON restores a value unchanged."""
    if type(value) is tuple:
        return all(map(_is_plain, value))
    plain: Sequence[Callable[..., Any]] = (bool, int, float, str)
    return value is None or isinstance(
        value, (*plain, np.bool_, np.integer, np.floating)
    )
