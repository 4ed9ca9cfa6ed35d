"""What a schedule is: a pytree of numbers, called with the step."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core._numbers import standard_promotion, wide, wide_numbers
from jopt.core._pytree import Number, pytree, static


class Schedule:
    """A number that depends on the step.

    Called with the count of updates already made (0 at the first), a number or an array
    of any shape, it returns the value for the next update: a float32 array of that
    shape. Every number is a leaf: step counts, boundaries and fractions, too.

    One convention: the first update uses s(0), so that a warmup from 0 makes a first
    update of nothing, and step `warmup_steps` is the first at the peak.

    One rule of names, optax's: values are `init_value`, `peak_value` and `end_value`;
    `transition_steps` is how long a change takes; `warmup_steps` and `decay_steps` are
    the steps, from the start, at which the warmup and the whole schedule end.

    Below 2^24 steps, the integers that float32 holds, stairs, boundaries and ends come
    at their very step, and values are exact to rounding, however the call is compiled.
    """

    takes_integers: ClassVar[bool] = False  # float32 counts no further than 2^24

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        call = cls.__call__

        @jax.jit
        def program(self: Any, count: Any) -> jax.Array:
            at = count if cls.takes_integers else wide(count)
            value = call(wide_numbers(self), at)
            # To its own dtype: what Python numbers make is else weakly typed.
            return value.astype(value.dtype)

        cls.__call__ = functools.wraps(call)(lambda self, count: program(self, count))

    def __call__(self, count: Any) -> jax.Array:
        raise NotImplementedError


ScalarOrSchedule: TypeAlias = Number | Schedule | Callable[[Any], Any]


@pytree
class FunctionSchedule(Schedule):
    """A Python function of the int32 step, optax's schedules for one.

    The function's own numbers stay constants of the program.
    """

    function: Callable[[Any], Any] = static()

    takes_integers = True

    def __call__(self, count):
        with standard_promotion():
            return wide(self.function(jnp.asarray(count, jnp.int32)))


def as_schedule(value: Any) -> Any:
    """Return numbers and schedules as they are, and a bare function as a schedule."""
    if callable(value) and not isinstance(value, Schedule):
        return FunctionSchedule(value)
    return value


def value_at(value: Any, count: Any) -> jax.Array:
    """Return the number itself, or the schedule's value at `count`."""
    return value(count) if isinstance(value, Schedule) else wide(value)
