"""Copies of parameters that follow them: a running average, a periodic copy."""

import jax
import jax.numpy as jnp

from jopt.core import (
    Arrays,
    Number,
    PyTree,
    checked,
    leaves_like,
    map_leaves,
    mix,
    wide,
)


@checked
@jax.jit
def incremental_update(
    new_tensors: Arrays, old_tensors: Arrays, step_size: Number
) -> PyTree:
    """Return the old parameters, moved by a fraction of the way to the new ones.

        step_size new + (1 - step_size) old

    Args:
      new_tensors: tree of arrays to move towards.
      old_tensors: tree of arrays like `new_tensors`.
      step_size: fraction of the way, in [0, 1].

    Returns:
      A tree in the dtypes of `old_tensors`: an average in float32 of bfloat16
      parameters stays in float32.

    Polyak & Juditsky 1992, https://doi.org/10.1137/0330046.
    """
    names = ("new_tensors", "old_tensors")
    leaves_like(new_tensors, old_tensors, "incremental_update: new_tensors", names)
    size = wide(step_size)
    return map_leaves(lambda old, new: mix(new, old, size), old_tensors, new_tensors)


@checked
@jax.jit
def periodic_update(
    new_tensors: Arrays,
    old_tensors: Arrays,
    steps: Number,
    update_period: Number,
) -> PyTree:
    """Return the new parameters every `update_period` steps, else the old ones.

        new if steps is a multiple of update_period, else old

    Args:
      new_tensors: tree of arrays.
      old_tensors: tree of arrays like `new_tensors`.
      steps: updates made, a whole number.
      update_period: whole number, at least 1.

    Returns:
      A tree like `new_tensors`.

    Mnih et al. 2015, https://doi.org/10.1038/nature14236, Algorithm 1.
    """
    names = ("new_tensors", "old_tensors")
    leaves_like(new_tensors, old_tensors, "periodic_update: new_tensors", names)
    due = steps % update_period == 0
    return jax.tree.map(
        lambda new, old: jnp.where(due, new, old), new_tensors, old_tensors
    )
