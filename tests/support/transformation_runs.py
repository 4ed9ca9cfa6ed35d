"""Run a transformation on given gradients: for one update, or one for each gradient."""

from typing import Any

import jax

import jopt


def first_update(tx: Any, updates: Any, params: Any = None) -> Any:
    """Return the first updates and the state after them."""
    return tx.update(updates, tx.init(updates if params is None else params), params)


def params_after(tx: Any, updates: Any, params: Any) -> Any:
    """Return the parameters after the first update."""
    return jopt.apply_updates(params, first_update(tx, updates, params)[0])


def updates_of(tx: Any, grads: Any, params: Any) -> Any:
    """Return the updates for each of `grads`, at fixed params, and the last state."""

    def step(state: Any, g: Any) -> Any:
        updates, state = tx.update(g, state, params)
        return state, updates

    return jax.lax.scan(step, tx.init(params), grads)[::-1]


def trained(tx: Any, grads: Any, params: Any) -> Any:
    """Return the parameters after an update for each of `grads`, and the last state."""

    def step(carry: Any, g: Any) -> Any:
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (jopt.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, tx.init(params)), grads)[0]
