"""Old or new: what a step whose gradients are not finite leaves as it was."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jopt.core import PyTree, dtype_of, stored


def chosen(flag: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """Return `new` where the flag is true, else `old`, in the dtypes of `old`."""
    new = stored(new, old)
    return jax.tree.map(lambda n, o: jnp.where(flag, n, o), new, old)


def model_state_after(flag: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """Return the model's state after a step, or after one that is skipped.

        new,                                  where the flag is true
        old, and the random numbers of new,   where it is false

    The random numbers are Flax's `RngKey` and `RngCount`, and every typed key. If a
    skipped step gave them back, the next step would draw the same dropout masks, and
    what was not finite once would never be finite again.
    """

    def leaf(random: bool, n: Any, o: Any) -> Any:
        return n if random else jnp.where(flag, n, o)

    return jax.tree.map(leaf, _is_random(old), stored(new, old), old)


def _is_random(model_state: PyTree) -> PyTree:
    """For each array: whether random numbers are drawn from it."""
    # Flax need not be loaded to tell: whoever has a Variable has loaded it.
    of_flax = getattr(sys.modules.get("flax.nnx"), "RngState", ())

    def node(node: Any) -> Any:
        return jax.tree.map(
            lambda x: (
                isinstance(node, of_flax)
                or jnp.issubdtype(dtype_of(x), jax.dtypes.prng_key)
            ),
            node,
        )

    return jax.tree.map(node, model_state, is_leaf=lambda x: isinstance(x, of_flax))


def taken(
    flag: jax.Array, step: Callable[..., tuple[Any, ...]], *held: PyTree
) -> tuple[Any, ...]:
    """Return `step(*held)` where the flag is true, else `held`, in its dtypes.

    On a CPU by a branch. XLA makes a loop of its own there for each array, and to
    choose between an old and a new one it copies the old ones first: AdamW then takes
    more than twice its time. On a GPU one kernel makes all, and to choose is free.
    """

    def branch(flag: jax.Array, *held: PyTree) -> tuple[Any, ...]:
        def changed(*held: PyTree) -> tuple[Any, ...]:
            return stored(step(*held), held)

        return jax.lax.cond(flag, changed, lambda *held: held, *held)

    def select(flag: jax.Array, *held: PyTree) -> tuple[Any, ...]:
        return chosen(flag, step(*held), held)

    return jax.lax.platform_dependent(flag, *held, cpu=branch, default=select)
