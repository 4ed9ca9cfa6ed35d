"""`when`: a `lax.cond` that stays a branch under vmap."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jopt.core import PyTree


def when(
    flag: jax.Array,
    change: Callable[..., PyTree],
    keep: Callable[..., PyTree],
    *operands: PyTree,
) -> PyTree:
    """Return `change(*operands)` if `flag` is true, else `keep(*operands)`.

    Under `vmap` a `lax.cond` whose flag has a batch axis runs both branches for all
    trials. Here a block of trials runs `change` only if at least one of them needs it,
    and each trial takes its own result.

    Args:
      flag: bool[].
      change: function of the operands.
      keep: function of the operands that returns a tree of the same structure and
        dtypes.
      *operands: trees of arrays.
    """

    def changed(*operands: PyTree) -> PyTree:
        mine = _own(flag)
        return jax.tree.map(
            lambda new, old: jax.lax.select(mine, new, old),
            change(*operands),
            keep(*operands),
        )

    return jax.lax.cond(_any(flag), changed, keep, *operands)


@jax.custom_batching.custom_vmap
def _any(flag: jax.Array) -> jax.Array:
    """Return the flag; under vmap, return whether it is true for any trial."""
    return flag


@_any.def_vmap
def _(axis_size: int, in_batched: list[bool], flag: jax.Array):
    return _any(jnp.any(flag, axis=0)), False


@jax.custom_batching.custom_vmap
def _own(flag: jax.Array) -> jax.Array:
    """Return true; under vmap, return each trial's own flag.

    Call it only inside the branch that is taken when the flag of any trial is set.
    """
    return jnp.ones_like(flag)


@_own.def_vmap
def _(axis_size: int, in_batched: list[bool], flag: jax.Array):
    return flag, True
