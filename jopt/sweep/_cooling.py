"""Cooling: train a copy of a trial for more steps while its rate decays to 0."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import KeyPath

from jopt.core import Number, PyTree, Schedule, pytree
from jopt.sweep._config import name_of

RATE = "learning_rate"


class Cooling(NamedTuple):
    """The steps over which a rate is decayed, the same for all trials."""

    begin: jax.Array  # int32[], the first step
    steps: jax.Array  # int32[], the number of steps

    def factor(self, number: jax.Array) -> jax.Array:
        """Return the rate's factor in step `number`: 1 at the first, falling to 0."""
        made = (number - self.begin).astype(float)
        return 1 - made / self.steps.astype(float)


@pytree
class Cooled(Schedule):
    """A schedule times a number."""

    schedule: Schedule
    factor: Number

    takes_integers = True

    def __call__(self, count):
        value = self.schedule(count)
        return value * jnp.asarray(self.factor, value.dtype)


def cooled(config: PyTree, factor: jax.Array) -> PyTree:
    """Return a config whose learning rates are multiplied by a number.

    Learning rates are the fields and entries named `learning_rate`, at any depth. They
    are numbers or schedules.

    Raises:
      ValueError: the config has no learning rate.
    """
    found: list[Any] = []

    def leaf(path: KeyPath, value: Any) -> Any:
        if not path or name_of(path[-1]) != RATE:
            return value
        found.append(value)
        if isinstance(value, Schedule):
            return Cooled(value, factor)
        dtype = jnp.result_type(value, float)
        return jnp.asarray(value, dtype) * factor.astype(dtype)

    is_schedule = lambda node: isinstance(node, Schedule)  # noqa: E731
    made = jax.tree_util.tree_map_with_path(leaf, config, is_leaf=is_schedule)
    if not found:
        raise ValueError(
            f"A pruner that judges cooled copies needs a config with a {RATE}, a field "
            "or an entry of that name, got one without; leave cooled out."
        )
    return made
