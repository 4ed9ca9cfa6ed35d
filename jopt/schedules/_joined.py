"""Schedules in sequence: any schedules, and cosine decays with restarts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import jax.numpy as jnp

from jopt.core import (
    Kind,
    Number,
    ScalarOrSchedule,
    Schedule,
    as_schedule,
    checked,
    field,
    pytree,
)
from jopt.schedules._curves import floats
from jopt.schedules._warmup import WarmupCosineDecaySchedule


def _are_schedules(given: object) -> bool:
    return isinstance(given, (list, tuple)) and all(map(callable, given))


_SCHEDULES = Kind("a list of schedules, or functions of the step", _are_schedules)


def _as_schedules(given: Sequence[ScalarOrSchedule]) -> tuple[Schedule, ...]:
    return tuple(map(as_schedule, given))


@pytree
class JoinedSchedules(Schedule):
    """Follow schedules in sequence, each counting from its own start.

        s(t) = schedules[i](t - boundaries[i - 1])

    for the last i whose boundary is at most t, and `schedules[0](t)` before the first
    boundary.

    Args:
      schedules: schedules of jopt, or functions of the step.
      boundaries: steps at which the next schedule begins; one fewer than schedules.

    Raises:
      ValueError: if there is not one boundary fewer than there are schedules.
    """

    schedules: Annotated[Sequence[ScalarOrSchedule], _SCHEDULES] = field(
        converter=_as_schedules
    )
    boundaries: Sequence[Number] = field(converter=floats)

    def __post_init__(self):
        if len(self.schedules) != len(self.boundaries) + 1:
            raise ValueError(
                f"JoinedSchedules: {len(self.schedules)} schedules need "
                f"{len(self.schedules) - 1} boundaries, got {len(self.boundaries)}."
            )

    def __call__(self, count):
        return _in_sequence(count, self.schedules, self.boundaries)


@pytree
class SgdrSchedule(Schedule):
    """Follow warmups and cosine decays in sequence, each counting from its own start.

        s(t) = cycles[i](t - b_i),  b_i = sum of decay_steps of the cycles before i

    for the last i whose b_i is at most t. Make it with `sgdr_schedule`.

    Args:
      cycles: schedules of `warmup_cosine_decay_schedule`, at least one.

    Raises:
      ValueError: if there is no cycle.
    """

    cycles: tuple[WarmupCosineDecaySchedule, ...] = field(converter=tuple)

    def __post_init__(self):
        if not self.cycles:
            raise ValueError(
                "SgdrSchedule: cycles must be at least one, got none; cosine_kwargs of "
                "sgdr_schedule is a list of warmup_cosine_decay_schedule's arguments, "
                "a dict for each cycle."
            )

    def __call__(self, count):
        ends, end = [], jnp.zeros(())
        for cycle in self.cycles[:-1]:
            end = end + cycle.decay_steps
            ends.append(end)
        return _in_sequence(count, self.cycles, ends)


def _in_sequence(count, schedules, boundaries):
    ends = (*boundaries, jnp.inf)
    value = schedules[0](jnp.minimum(count, ends[0]))
    for begin, end, schedule in zip(boundaries, ends[1:], schedules[1:], strict=True):
        # Outside its own interval a schedule may overflow or be NaN, which would make
        # its gradient NaN.
        own = jnp.clip(count - begin, 0, end - begin)
        value = jnp.where(count < begin, value, schedule(own))
    return value


def _are_cycles(given: Any) -> bool:
    listed = isinstance(given, Iterable) and not isinstance(given, (str, Mapping))
    return listed and all(isinstance(cycle, Mapping) for cycle in given)


_CYCLES = Kind(
    "a list of dicts, of warmup_cosine_decay_schedule's arguments", _are_cycles
)
join_schedules = JoinedSchedules


@checked
def sgdr_schedule(
    cosine_kwargs: Annotated[Iterable[Mapping[str, Number]], _CYCLES],
) -> SgdrSchedule:
    """Restart a warmup and a cosine decay, cycle after cycle.

        jopt.sgdr_schedule([
            dict(init_value=0.0, peak_value=0.1, warmup_steps=5, decay_steps=50),
            dict(init_value=0.0, peak_value=0.05, warmup_steps=5, decay_steps=100),
        ])

    Args:
      cosine_kwargs: the arguments of `warmup_cosine_decay_schedule` for each cycle; a
        cycle is `decay_steps` long.

    Raises:
      ValueError: if there is no cycle.

    Loshchilov & Hutter 2016, https://arxiv.org/abs/1608.03983, section 3.
    """
    return SgdrSchedule(tuple(WarmupCosineDecaySchedule(**k) for k in cosine_kwargs))
