"""`when`: a branch that stays one under vmap."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def when(
    flag: jax.Array,
    change: Callable[..., Any],
    keep: Callable[..., Any],
    *operands: Any,
) -> Any:
    """Return `change(*operands)` if `flag` is true, else `keep(*operands)`.

    A `lax.cond` whose flag has a batch axis would run both for all. Here a block of
    trials runs `change` when at least one of them needs it, and each takes its own.

    flag: bool[]. Both functions return trees of the same structure and dtypes.
    """

    def changed(*operands: Any) -> Any:
        mine = _own(flag)
        return jax.tree.map(
            lambda new, old: jax.lax.select(mine, new, old),
            change(*operands),
            keep(*operands),
        )

    return jax.lax.cond(_any(flag), changed, keep, *operands)


@jax.custom_batching.custom_vmap
def _any(flag: jax.Array) -> jax.Array:
    """The flag, and of a block whether it is true for any."""
    return flag


@_any.def_vmap
def _(axis_size: int, in_batched: list[bool], flag: jax.Array):
    return _any(jnp.any(flag, axis=0)), False


@jax.custom_batching.custom_vmap
def _own(flag: jax.Array) -> jax.Array:
    """True where only a true flag leads, and of a block each one's flag."""
    return jnp.ones_like(flag)


@_own.def_vmap
def _(axis_size: int, in_batched: list[bool], flag: jax.Array):
    return flag, True
