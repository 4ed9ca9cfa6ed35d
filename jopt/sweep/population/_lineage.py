"""The history of a population: which trial copied which, when, and its replay."""

import dataclasses
import itertools
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jopt.core import Schedule, checked_class
from jopt.schedules import ConstantSchedule, JoinedSchedules
from jopt.sweep._equality import same
from jopt.sweep.population._population import Generation

Setting = dict[str, Any]


class Event(NamedTuple):
    """A change of a trial: it continues another run, or has new hyperparameters."""

    segment: int  # the segment that had just ended, counted from 0
    step: int  # steps made so far: the first step with the new setting
    child: int
    parent: int  # the child itself, if only its hyperparameters changed
    old: Setting  # the child's setting before
    new: Setting


class Stretch(NamedTuple):
    """The steps of a run under one setting, until the next stretch or the end."""

    segment: int  # the first segment
    step: int  # the first step
    trial: int  # the trial whose run it was
    setting: Setting


class Lineage:
    """All changes of the trials of a population, in order.

    Args:
      settings: the hyperparameters that each trial began with.
      events: the changes, in the order they happened.
    """

    def __init__(
        self, settings: Iterable[Mapping[str, Any]], events: Iterable[Event] = ()
    ):
        self.settings = tuple(dict(setting) for setting in settings)
        self._events = list(events)

    @property
    def events(self) -> tuple[Event, ...]:
        """All events, in the order they happened."""
        return tuple(self._events)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lineage) and same(self.as_dict(), other.as_dict())

    def record(self, segment: int, step: int, generation: Generation) -> list[Event]:
        """Add the changes of a generation; return the events added.

        Args:
          segment: the segment that had just ended, counted from 0.
          step: the steps made by then.
          generation: how the trials continue.
        """
        new = []
        for child, old in enumerate(self.last_settings()):
            parent, setting = int(generation.parents[child]), generation.settings[child]
            if parent != child or not same(setting, old):
                new.append(Event(segment, step, child, parent, old, dict(setting)))
        self._events += new
        return new

    def last_settings(self) -> list[Setting]:
        """Return the hyperparameters of each trial since the last event."""
        now = {event.child: event.new for event in self._events}
        return [now.get(trial, first) for trial, first in enumerate(self.settings)]

    def ancestors(self, trial: int) -> tuple[Stretch, ...]:
        """Return the runs and settings that led to a trial at its end.

        The first stretch begins at step 0; each ends where the next begins.
        """
        if not 0 <= trial < len(self.settings):
            last = len(self.settings) - 1
            raise KeyError(f"There is no trial {trial}; they are 0 to {last}.")
        found: list[Stretch] = []
        before = None  # segment of the last event, up to which a parent's run counts
        for event in reversed(self._events):
            if event.child == trial and (before is None or event.segment < before):
                stretch = Stretch(event.segment + 1, event.step, trial, event.new)
                found.append(stretch)
                trial, before = event.parent, event.segment
        found.append(Stretch(0, 0, trial, self.settings[trial]))
        return tuple(reversed(found))

    def policy(self, trial: int) -> tuple[tuple[int, Setting], ...]:
        """Return the settings that led to a trial, by first segment: for `Replay`."""
        stretches = _changes(self.ancestors(trial), lambda stretch: stretch.setting)
        return tuple((stretch.segment, stretch.setting) for stretch in stretches)

    def schedule(self, trial: int, name: str) -> Schedule:
        """Return a hyperparameter of the runs that led to a trial, as a schedule.

            rate = lineage.schedule(result.best.trial, "learning_rate")
            tx = jopt.adamw(rate)  # for an ordinary training

        The schedule keeps its last value after the end.

        Args:
          trial: the trial's number.
          name: a hyperparameter that was a number throughout.

        Raises:
          KeyError: if the trials do not have this hyperparameter.
          TypeError: if one of its values is not a number.
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
        """Return the lineage that `as_dict` wrote, also after JSON."""
        settings = [_read(setting) for setting in held["settings"]]
        return cls(settings, [event_from_dict(event) for event in held["events"]])


@checked_class
@dataclasses.dataclass(frozen=True)
class Replay:
    """Train trials with the hyperparameter schedule of one trial of a population.

        policy = result.lineage.policy(result.best.trial)
        trials = [sweep.Trial.of(jopt.adamw, policy[0][1])]
        sweep.run(task, trials, seeds=5, population=sweep.Replay(policy))

    The sweep needs as many steps and segments as the recorded one. Its trials start
    with the first setting and change at the ends of the recorded segments. They do not
    copy each other.

    Args:
      policy: the result of `Lineage.policy`: pairs of first segment and setting, with
        segments ascending from 0.

    Raises:
      ValueError: if the policy does not begin with segment 0, or does not ascend.
    """

    policy: Sequence[tuple[int, Mapping[str, Any]]]

    def __post_init__(self):
        starts = [start for start, _ in self.policy]
        if starts[:1] != [0] or sorted(set(starts)) != starts:
            raise ValueError(
                "Replay: policy must have ascending first segments from 0 on, got "
                f"{starts}; give what Lineage.policy returns."
            )

    def check(self, segments: int, settings: Sequence[Mapping[str, Any]]) -> None:
        """Raise ValueError if the policy does not fit trials of these settings."""
        if self.policy[-1][0] >= segments:
            raise ValueError(
                f"Replay: segments must be above {self.policy[-1][0]}, after which the "
                f"policy last changes, got {segments}; ask for as many as it was "
                "recorded with."
            )
        for setting in settings:
            if not same(dict(setting), dict(self.policy[0][1])):
                raise ValueError(
                    f"Replay: trials must start with {self.policy[0][1]}, got "
                    f"{setting}; make them by Trial.of(factory, policy[0][1])."
                )

    def reachable(self, setting: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return all settings of the policy, for a check of the structure."""
        return [dict(setting) for _, setting in self.policy]

    def due(self, segment: int, segments: int) -> bool:
        """Return whether the hyperparameters change after `segment`, counted from 0."""
        return any(start == segment + 1 for start, _ in self.policy)

    def step(
        self,
        values: np.ndarray,
        settings: Sequence[Mapping[str, Any]],
        random: np.random.Generator,
        segment: int,
    ) -> Generation:
        """Return the trials as they are, with the setting of the next segment."""
        now = [setting for start, setting in self.policy if start <= segment + 1][-1]
        return Generation(np.arange(len(values)), [dict(now) for _ in settings])


def event_as_dict(event: Event) -> dict[str, Any]:
    """Return an event as a dict for JSON."""
    return {**event._asdict(), "old": _plain(event.old), "new": _plain(event.new)}


def event_from_dict(held: Mapping[str, Any]) -> Event:
    """Return the event that `event_as_dict` wrote, also after JSON."""
    fields = {name: held[name] for name in Event._fields}
    return Event(**{**fields, "old": _read(held["old"]), "new": _read(held["new"])})


def _changes(
    stretches: Sequence[Stretch], seen: Callable[[Stretch], Any]
) -> list[Stretch]:
    """Return the first stretch, and those at which `seen` changes."""
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
    """Return a setting as it was before JSON, which turns tuples into lists."""
    if isinstance(value, dict):
        return {name: _read(held) for name, held in value.items()}
    return tuple(map(_read, value)) if isinstance(value, list) else value
