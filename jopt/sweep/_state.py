"""All that changes in a sweep, and how it is kept and put back."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jopt.sweep._equality import digest, same
from jopt.sweep._group import Group
from jopt.sweep._history import History
from jopt.sweep._options import Options
from jopt.sweep._result import table_of, winner
from jopt.sweep._trial import Trial, columns, settings_of
from jopt.sweep.population import Event, Lineage, event_as_dict, event_from_dict
from jopt.sweep.store import Found


class State:
    """All that changes in a sweep.

    options: what is asked. trials: of all seeds and folds. groups: those, compiled.
    """

    def __init__(
        self, options: Options, trials: Sequence[Trial], groups: Sequence[Group]
    ):
        self.options, self.trials, self.groups = options, list(trials), groups
        self.columns = columns(trials)  # of hyperparameters
        self.plan = groups[0].plan
        sizes = self.plan.steps, self.plan.segments, self.plan.length
        self.history = History(len(trials), *sizes)
        # Members of a population differ from their first generation on.
        alone = [np.asarray([trial]) for trial in range(len(trials))]
        self.settings = settings_of(trials) if options.population is None else alone
        self.lineage = Lineage([trial.hyperparameters for trial in trials])
        self.at_hand = np.ones(len(trials), bool)  # whose parameters the pools have

    @property
    def segments(self) -> int:
        """The segments of the sweep."""
        return self.plan.segments

    def step_after(self, segment: int) -> int:
        """The steps made at the end of a segment."""
        return int(self.history.ends()[segment])

    def table(self) -> dict[str, np.ndarray]:
        """The table as it is now."""
        return table_of(self.trials, self.columns, self.history)

    def best_row(self) -> dict[str, Any] | None:
        """The row of the table that is best now; None if all diverged."""
        table = self.table()
        best = winner(self.settings, table)
        return None if best is None else {name: v[best] for name, v in table.items()}

    def change(self, settings: Sequence[dict[str, Any]]) -> None:
        """Give the trials these hyperparameters."""
        self.trials = [
            trial if same(setting, trial.hyperparameters) else trial.changed(setting)
            for trial, setting in zip(self.trials, settings, strict=True)
        ]
        self.columns = columns(self.trials)

    def record(self, segment: int) -> dict[str, Any]:
        """Return the line of a segment that has just ended."""
        events = [e for e in self.lineage.events if e.segment == segment]
        return {
            "step": self.step_after(segment),
            "kept": np.flatnonzero(self.kept()),
            "metrics": list(self.history.valid),
            "best": self.best_row(),
            "generation": [event_as_dict(_noted(event)) for event in events],
        }

    def kept(self) -> np.ndarray:
        """Whose parameters are kept: who is trained, and who wins if those diverge."""
        kept, table = self.history.going, self.table()
        losses = np.where(kept, np.nan, table["valid_loss"])
        best = winner(self.settings, {**table, "valid_loss": losses})
        return kept if best is None else kept | (table["trial"] == best)

    def tree(self, kept: np.ndarray | None = None) -> dict[str, Any]:
        """Return what a sweep goes on from: what was seen, and the parameters kept."""
        kept = self.kept() if kept is None else kept
        return {
            "history": self.history.arrays(),
            "own": [group.pool.read(group.rows(kept)) for group in self.groups],
            "shared": [group.pool.shared for group in self.groups],
        }

    def like(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a tree of the shapes of the one that was kept with a record."""
        kept = np.isin(np.arange(len(self.trials)), record["kept"])
        seen = np.zeros((len(self.trials), self.segments), self.history.dtype)
        tree = self.tree(kept)
        tree["history"]["valid"] = dict.fromkeys(record["metrics"], seen)
        return tree

    def put_back(self, found: Found) -> None:
        """Be as it was when `found` was kept."""
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
        """Return events with the values that their lines noted by a digest alone.

        A value is one that a trial began with, or that the population may give it.
        """
        population = self.options.population
        assert population is not None
        began = self.lineage.settings
        settings = [*began, *(s for b in began for s in population.reachable(b))]
        values = {
            digest(v): v for s in settings for v in s.values() if not _is_plain(v)
        }

        def recalled(setting: dict[str, Any]) -> dict[str, Any]:
            return {
                name: values[value[BY]] if isinstance(value, dict) else value
                for name, value in setting.items()
            }

        return [
            event._replace(old=recalled(event.old), new=recalled(event.new))
            for event in events
        ]


BY = "digest"


def _noted(event: Event) -> Event:
    """An event for a line of a journal, which has no word for arrays and functions."""

    def noted(setting: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value if _is_plain(value) else {BY: digest(value)}
            for name, value in setting.items()
        }

    return event._replace(old=noted(event.old), new=noted(event.new))


def _is_plain(value: Any) -> bool:
    """Whether a value comes back from a line of a journal as it was."""
    if type(value) is tuple:
        return all(map(_is_plain, value))
    plain = (bool, int, float, str, np.bool_, np.integer, np.floating)
    return value is None or isinstance(value, plain)
