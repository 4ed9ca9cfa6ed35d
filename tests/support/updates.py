"""Updates of a transformation from its first state: one, or one for each gradient."""

from typing import Any

import jax
import jax.numpy as jnp

import jopt


def once(tx: Any, updates: Any, params: Any = None) -> Any:
    """The updates and the state after it."""
    return tx.update(updates, tx.init(updates if params is None else params), params)


def after(tx: Any, updates: Any, params: Any) -> Any:
    """The parameters after it."""
    return jopt.apply_updates(params, once(tx, updates, params)[0])


def updates_of(tx: Any, grads: Any, params: Any) -> Any:
    """The updates for each of `grads`, of params that stay, and the last state."""

    def step(state: Any, g: Any) -> Any:
        updates, state = tx.update(g, state, params)
        return state, updates

    return jax.lax.scan(step, tx.init(params), grads)[::-1]


def trained(tx: Any, grads: Any, params: Any) -> Any:
    """The parameters after an update for each of `grads`, and the last state."""

    def step(carry: Any, g: Any) -> Any:
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (jopt.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, tx.init(params)), grads)[0]


def key_data(tree: Any) -> Any:
    """A tree with the bits of its random keys in their place."""

    def leaf(x: Any) -> Any:
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if is_key else x

    return jax.tree.map(leaf, tree)
