"""Numbers of steps: static if they are Python integers, data otherwise."""

from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import Kind, ScalarOrSchedule, Schedule, as_schedule, is_number, value_at


class _Steps(int):
    """A number of steps that is part of the program: a pytree without leaves."""


jax.tree_util.register_pytree_node(
    _Steps, lambda steps: ((), int(steps)), lambda steps, _: _Steps(steps)
)


def _is_period(steps: object) -> bool:
    whole = not isinstance(steps, int) or steps < 2**31  # they are counted in int32
    return isinstance(steps, (_Steps, Schedule)) or (
        whole and (is_number(steps) or callable(steps))
    )


Period: TypeAlias = Annotated[
    ScalarOrSchedule,
    Kind("an integer of 32 bits, a number or a schedule", _is_period),
]
"""An argument that is a number of steps, or a schedule of it."""


def as_period(steps: ScalarOrSchedule) -> ScalarOrSchedule:
    """Return a Python integer as a node without leaves, and anything else as data."""
    if isinstance(steps, (int, np.integer)):
        return _Steps(int(steps))
    return as_schedule(steps)


def period_at(steps: ScalarOrSchedule, count: jax.Array) -> int | jax.Array:
    """Return the number of steps, at least 1: a Python integer, or an int32 scalar.

    Data is rounded to the nearest integer; schedules are called with `count`.
    """
    if isinstance(steps, _Steps):
        return int(steps)
    return jnp.maximum(jnp.round(value_at(steps, count)), 1).astype(jnp.int32)
