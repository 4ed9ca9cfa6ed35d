"""Old or new: what a step whose gradients are not finite leaves as it was."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jopt._leaves import stored
from jopt._pytree import PyTree


def chosen(flag: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """Return `new` where the flag is true, else `old`, in the dtypes of `old`."""
    new = stored(new, old)
    return jax.tree.map(lambda n, o: jnp.where(flag, n, o), new, old)


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
