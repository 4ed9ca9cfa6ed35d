"""Where the trials of a population come from: who copied whom, when, with what."""

import itertools
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jopt.core import Schedule
from jopt.schedules import ConstantSchedule, JoinedSchedules
from jopt.sweep._equality import same
from jopt.sweep.population._generation import Generation

Setting = dict[str, Any]


class Event(NamedTuple):
    """A trial that went on from another, or with other hyperparameters."""

    segment: int  # that had just ended, counted from 0
    step: int  # steps made by then: the first with the new setting
    child: int
    parent: int  # the child itself, if only its hyperparameters changed
    old: Setting  # the child's, before
    new: Setting


class Stretch(NamedTuple):
    """Some steps of a run, under one setting; the last stretch goes on to the end."""

    segment: int  # the first
    step: int  # the first
    trial: int  # whose run it was then
    setting: Setting


class Lineage:
    """All that happened to the trials of a population, in order; only ever added to.

    settings: what the trials began with. events: in the order they happened.
    """

    def __init__(
        self, settings: Iterable[Mapping[str, Any]], events: Iterable[Event] = ()
    ):
        self.settings = tuple(dict(setting) for setting in settings)
        self._events = list(events)

    @property
    def events(self) -> tuple[Event, ...]:
        """All events, the first first."""
        return tuple(self._events)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lineage) and same(self.as_dict(), other.as_dict())

    def record(self, segment: int, step: int, generation: Generation) -> list[Event]:
        """Add what a generation changed; return the events added.

        segment: the one that had just ended, from 0. step: the steps made by then.
        """
        new = []
        for child, old in enumerate(self.last_settings()):
            parent, setting = int(generation.parents[child]), generation.settings[child]
            if parent != child or not same(setting, old):
                new.append(Event(segment, step, child, parent, old, dict(setting)))
        self._events += new
        return new

    def last_settings(self) -> list[Setting]:
        """Return what each trial is trained with since the last event."""
        now = {event.child: event.new for event in self._events}
        return [now.get(trial, first) for trial, first in enumerate(self.settings)]

    def ancestors(self, trial: int) -> tuple[Stretch, ...]:
        """Return whose runs, under which settings, made a trial what it is at the end.

        The first stretch begins at step 0; each ends where the next begins.
        """
        if not 0 <= trial < len(self.settings):
            last = len(self.settings) - 1
            raise KeyError(f"There is no trial {trial}; they are 0 to {last}.")
        found: list[Stretch] = []
        before = None  # the segment of the last event: what a parent was until then
        for event in reversed(self._events):
            if event.child == trial and (before is None or event.segment < before):
                stretch = Stretch(event.segment + 1, event.step, trial, event.new)
                found.append(stretch)
                trial, before = event.parent, event.segment
        found.append(Stretch(0, 0, trial, self.settings[trial]))
        return tuple(reversed(found))

    def policy(self, trial: int) -> tuple[tuple[int, Setting], ...]:
        """Return the settings that made a trial, by first segment: for `Replay`."""
        stretches = _changes(self.ancestors(trial), lambda stretch: stretch.setting)
        return tuple((stretch.segment, stretch.setting) for stretch in stretches)

    def schedule(self, trial: int, name: str) -> Schedule:
        """Return a hyperparameter of the runs that made a trial, by step.

            rate = lineage.schedule(result.best.trial, "learning_rate")
            tx = jopt.adamw(rate)  # for an ordinary training

        name: of a hyperparameter that was a number throughout. The schedule keeps its
        last value for ever.

        Raises a KeyError for a name that trials do not have, and a TypeError if one of
        the values is no number.
        """
        stretches = self.ancestors(trial)
        if name not in stretches[0].setting:
            names = ", ".join(stretches[0].setting)
            raise KeyError(f"There is no hyperparameter {name}; there are {names}.")
        for stretch in stretches:
            value = stretch.setting[name]
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(
                    f"Lineage: {name} must be a number to become a schedule, got "
                    f"{value!r} from step {stretch.step} on; use Replay instead."
                )
        pieces = _changes(stretches, lambda stretch: stretch.setting[name])
        constants = [ConstantSchedule(float(piece.setting[name])) for piece in pieces]
        if len(constants) == 1:
            return constants[0]
        return JoinedSchedules(constants, [piece.step for piece in pieces[1:]])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as lists and dicts, for JSON."""
        return {
            "settings": [_plain(setting) for setting in self.settings],
            "events": [event_as_dict(event) for event in self._events],
        }

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> "Lineage":
        """Return the lineage that `as_dict` gave, also after JSON."""
        settings = [_read(setting) for setting in held["settings"]]
        return cls(settings, [event_from_dict(event) for event in held["events"]])


def event_as_dict(event: Event) -> dict[str, Any]:
    """Return an event for JSON: a line of a journal."""
    return {**event._asdict(), "old": _plain(event.old), "new": _plain(event.new)}


def event_from_dict(held: Mapping[str, Any]) -> Event:
    """Return the event that `event_as_dict` gave, also after JSON."""
    fields = {name: held[name] for name in Event._fields}
    return Event(**{**fields, "old": _read(held["old"]), "new": _read(held["new"])})


def _changes(
    stretches: Sequence[Stretch], seen: Callable[[Stretch], Any]
) -> list[Stretch]:
    """Return the stretches that differ from the one before in what is seen of them."""
    pairs = itertools.pairwise(stretches)
    return [
        stretches[0],
        *(new for old, new in pairs if not same(seen(new), seen(old))),
    ]


def _plain(setting: Setting) -> Setting:
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in setting.items()
    }


def _read(value: Any) -> Any:
    """Return a setting as it was before JSON: its values are hashable, never lists."""
    if isinstance(value, dict):
        return {name: _read(held) for name, held in value.items()}
    return tuple(map(_read, value)) if isinstance(value, list) else value
