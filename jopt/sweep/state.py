"""All that changes in a sweep, and how it is kept and put back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jopt.sweep.group import Group
from jopt.sweep.history import History
from jopt.sweep.options import Options
from jopt.sweep.population.lineage import Lineage, event_as_dict, event_from_dict
from jopt.sweep.result import table_of, winner
from jopt.sweep.resuming.store import Found
from jopt.sweep.trial import Trial, settings_of


class State:
    """All that changes in a sweep.

    options: what is asked. trials: of all seeds and folds. groups: those, compiled.
    """

    def __init__(
        self, options: Options, trials: Sequence[Trial], groups: Sequence[Group]
    ):
        self.options, self.trials, self.groups = options, list(trials), groups
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
        return table_of(self.trials, self.history)

    def best_row(self) -> dict[str, Any] | None:
        """The row of the table that is best now; None if all diverged."""
        table = self.table()
        best = winner(self.settings, table)
        return None if best is None else {name: v[best] for name, v in table.items()}

    def change(self, settings: Sequence[dict[str, Any]]) -> None:
        """Give the trials these hyperparameters."""
        self.trials = [
            trial if setting == trial.hyperparameters else trial.changed(setting)
            for trial, setting in zip(self.trials, settings, strict=True)
        ]

    def record(self, segment: int) -> dict[str, Any]:
        """Return the line of a segment that has just ended."""
        events = [e for e in self.lineage.events if e.segment == segment]
        return {
            "step": self.step_after(segment),
            "kept": np.flatnonzero(self.kept()),
            "metrics": list(self.history.valid),
            "best": self.best_row(),
            "generation": [event_as_dict(event) for event in events],
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
        events = [e for record in found.records for e in record["generation"]]
        self.lineage = Lineage(self.lineage.settings, map(event_from_dict, events))
        self.change(self.lineage.last_settings())
        kept = found.records[-1]["kept"]
        self.at_hand = np.isin(np.arange(len(self.trials)), kept)
        own, shared = found.tree["own"], found.tree["shared"]
        for group, leaves, counters in zip(self.groups, own, shared, strict=True):
            group.pool.write(group.rows(self.at_hand), leaves, counters)
