"""Limits on what the parameters, or the updates, may be."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    PyTree,
    map_leaves,
    needed,
    pytree,
)

NonNegativeParamsState = EmptyState


class ZeroNansState(NamedTuple):
    """Where the last updates had a NaN."""

    found_nan: PyTree  # like params, bool[] for each leaf


@pytree
class KeepParamsNonnegative(GradientTransformation):
    """Make the parameters after the update zero where they would be below.

        u = max(g, -p)

    Must be the last in a chain: p + u is at least zero, exactly, when u is what is
    added. Parameters that are below zero move to it.

    `update` needs `params`: it raises a ValueError without.
    """

    shapeless = True

    def init(self, params):
        return NonNegativeParamsState()

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters to keep at least zero")
        kept = map_leaves(lambda g, p: jnp.where(p + g < 0, -p, g), updates, params)
        return kept, state


@pytree
class ZeroNans(GradientTransformation):
    """Replace NaN by zero, and remember which leaves had one.

        u = 0 where g is NaN, else g

    The state has a bool for each leaf, of the last updates. Infinity stays.
    """

    def init(self, params):
        return ZeroNansState(
            found_nan=jax.tree.map(lambda _: jnp.zeros((), bool), params)
        )

    def update(self, updates, state, params=None, **extra):
        def rule(g, _):
            nan = jnp.isnan(g)
            return jnp.where(nan, 0, g), jnp.any(nan)

        updates, found = map_leaves(rule, updates, state.found_nan)
        return updates, ZeroNansState(found_nan=found)


keep_params_nonnegative = KeepParamsNonnegative
zero_nans = ZeroNans
