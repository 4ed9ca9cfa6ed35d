"""Schedules made of pieces: steps, schedules in turn, a warmup before a decay."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jopt._pytree import Number, check, pytree
from jopt.schedules._schedule import Schedule, as_schedule
from jopt.schedules._shapes import half_cosine, power


@pytree
class PiecewiseConstantSchedule(Schedule):
    """Multiply by a scale from each boundary on.

        s(t) = init_value * product of scales[i] over all i with t >= boundaries[i]

    init_value: any number. boundaries: in steps. scales: at least 0, one a boundary.

    Raises a ValueError if a scale is negative or NaN, or the lengths differ.
    """

    init_value: Number
    boundaries: tuple[Number, ...] = ()
    scales: tuple[Number, ...] = ()

    def __post_init__(self):
        self.__dict__["boundaries"] = _floats(self.boundaries)
        self.__dict__["scales"] = _floats(self.scales)
        if len(self.boundaries) != len(self.scales):
            raise ValueError(
                "PiecewiseConstantSchedule: boundaries and scales must be as many, "
                f"got {len(self.boundaries)} and {len(self.scales)}."
            )
        for scale in self.scales:
            if isinstance(scale, (int, float)) and not scale >= 0:
                raise ValueError(
                    "PiecewiseConstantSchedule: scales must be at least 0, "
                    f"got {scale:g}."
                )

    def __call__(self, count):
        value = jnp.broadcast_to(self.init_value, count.shape)
        for boundary, scale in zip(self.boundaries, self.scales, strict=True):
            value = value * jnp.where(count < boundary, 1, scale)
        return value


def piecewise_constant_schedule(
    init_value: Number,
    boundaries_and_scales: Mapping[int, Number]
    | Sequence[tuple[Number, Number]]
    | None = None,
) -> PiecewiseConstantSchedule:
    """Multiply by a scale from each boundary on.

        s(t) = init_value * product of all scales whose boundary is at most t

    init_value: any number. boundaries_and_scales: scale by boundary in steps, as in
    optax, or pairs of the two, which may be tracers: a dict's keys cannot.

    Raises a ValueError if a scale is negative or NaN.
    """
    given = boundaries_and_scales or ()
    pairs = given.items() if isinstance(given, Mapping) else given
    boundaries, scales = zip(*pairs, strict=True) if pairs else ((), ())
    return PiecewiseConstantSchedule(init_value, boundaries, scales)


@pytree
class WarmupCosineDecaySchedule(Schedule):
    """Rise on a line, then fall on half a cosine.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = end_value + (peak_value - end_value) c ** exponent        from there on
        c = (1 + cos(pi min((t - warmup_steps) / (decay_steps - warmup_steps), 1))) / 2

    init_value, peak_value, end_value: any numbers. warmup_steps: in steps, at least 0.
    decay_steps: in steps from the start, warmup included: above `warmup_steps`.
    exponent: above 0.

    Loshchilov & Hutter 2016, https://arxiv.org/abs/1608.03983, with the warmup of Goyal
    et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.
    """

    init_value: Number
    peak_value: Number
    warmup_steps: Number
    decay_steps: Number
    end_value: Number = 0.0
    exponent: Number = 1.0

    def __post_init__(self):
        check(self, "warmup_steps", least=0)
        check(self, "exponent", above=0)
        if isinstance(self.warmup_steps, (int, float)):
            check(
                self,
                "decay_steps",
                above=self.warmup_steps,
                hint="decay_steps counts from the start and includes the warmup.",
            )

    def __call__(self, count):
        warmup = jnp.maximum(self.warmup_steps, 1)
        rising = self.init_value + (self.peak_value - self.init_value) * count / warmup
        past = (count - self.warmup_steps) / (self.decay_steps - self.warmup_steps)
        cosine = power(half_cosine(past), self.exponent)
        falling = self.end_value + (self.peak_value - self.end_value) * cosine
        return jnp.where(count < self.warmup_steps, rising, falling)


@pytree
class JoinedSchedules(Schedule):
    """Follow schedules in turn, each counting from its own start.

        s(t) = schedules[i](t - boundaries[i - 1])

    for the last i whose boundary is at most t, and `schedules[0](t)` before them all.

    schedules: jopt's, or functions of the step. boundaries: in steps, one fewer.

    Raises a ValueError if the lengths do not fit.
    """

    schedules: Sequence[Any]
    boundaries: Sequence[Number]

    def __post_init__(self):
        self.__dict__["schedules"] = tuple(map(as_schedule, self.schedules))
        self.__dict__["boundaries"] = _floats(self.boundaries)
        if len(self.schedules) != len(self.boundaries) + 1:
            raise ValueError(
                f"JoinedSchedules: {len(self.schedules)} schedules need "
                f"{len(self.schedules) - 1} boundaries, got {len(self.boundaries)}."
            )

    def __call__(self, count):
        value = self.schedules[0](count)
        for boundary, schedule in zip(self.boundaries, self.schedules[1:], strict=True):
            value = jnp.where(count < boundary, value, schedule(count - boundary))
        return value


def _floats(numbers: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(float(x) if type(x) is int else x for x in numbers)


warmup_cosine_decay_schedule = WarmupCosineDecaySchedule
join_schedules = JoinedSchedules
