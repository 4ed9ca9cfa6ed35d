"""Schedules: pytrees of numbers that are called with the step."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jopt.core._numbers import standard_promotion, wide, wide_numbers
from jopt.core._pytree import Number, pytree, static


class Schedule:
    """A number that depends on the step; subclasses are `pytree` classes.

    A schedule s is called with the number of updates made so far, a number or an array
    of any shape. It returns the value for the next update, a float32 array of that
    shape. The first update uses s(0): after a warmup from 0 the first update is zero,
    and step `warmup_steps` is the first at the peak. Every number is a leaf, including
    step counts, boundaries and fractions.

    Names are optax's. Values are `init_value`, `peak_value` and `end_value`.
    `transition_steps` is the length of a change. `warmup_steps` and `decay_steps` are
    the steps, counted from the start, at which the warmup and the whole schedule end.

    Up to 2^24 steps, where float32 holds every integer, stairs, boundaries and ends
    come at their exact step. Values are exact up to rounding, however the call is
    compiled.
    """

    takes_integers: ClassVar[bool] = (
        False  # True: no cast to float32, exact beyond 2^24
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        call = cls.__call__

        @jax.jit
        def program(self: Schedule, count: ArrayLike) -> jax.Array:
            at = count if cls.takes_integers else wide(count)
            value = call(wide_numbers(self), at)
            # A result of Python numbers is weakly typed; a cast makes it strong.
            return value.astype(value.dtype)

        cls.__call__ = functools.wraps(call)(lambda self, count: program(self, count))

    def __call__(self, count: ArrayLike) -> jax.Array:
        raise NotImplementedError


ScalarOrSchedule: TypeAlias = Number | Schedule | Callable[[Any], Any]


@pytree
class FunctionSchedule(Schedule):
    """A schedule from a Python function of the int32 step, such as optax's schedules.

    The function's own numbers stay constants of the program.

    Args:
      function: returns the value at a step; static.
    """

    function: Callable[[Any], Any] = static()

    takes_integers = True

    def __call__(self, count):
        with standard_promotion():
            return wide(self.function(jnp.asarray(count, jnp.int32)))


def as_schedule(value: Any) -> Any:
    """Return a bare function as a schedule, and numbers and schedules unchanged.

    Args:
      value: a function of the step, a schedule or a number.
    """
    if callable(value) and not isinstance(value, Schedule):
        return FunctionSchedule(value)
    return value


def value_at(value: Any, count: Any) -> jax.Array:
    """Return a schedule's value at `count`, or a number itself, in at least float32.

    Args:
      value: a schedule, or a number.
      count: the step.
    """
    return value(count) if isinstance(value, Schedule) else wide(value)
