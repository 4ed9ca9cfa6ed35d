"""Numbers of steps: structure where they are Python integers, data elsewhere."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt._pytree import pytree, static
from jopt.schedules import as_schedule, value_at


@pytree
class _Steps:
    """A number of steps that is part of the program, and no leaf."""

    value: int = static()

    def __repr__(self):
        return repr(self.value)


def as_period(steps: Any) -> Any:
    """Return a Python integer as a node without leaves, and the rest as data."""
    if isinstance(steps, (int, np.integer)):
        return _Steps(int(steps))
    return as_schedule(steps)


def period_at(steps: Any, count: jax.Array) -> Any:
    """Return the number of steps, at least 1: a Python integer, or an int32 scalar.

    Data is rounded to the nearest integer; schedules are called with `count`.
    """
    if isinstance(steps, _Steps):
        return steps.value
    return jnp.maximum(jnp.round(value_at(steps, count)), 1).astype(jnp.int32)
