"""Constraints: nonnegative parameters, updates without NaN."""

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
    """Which leaves of the last updates had a NaN."""

    found_nan: PyTree  # like params, bool[] for each leaf


@pytree
class KeepParamsNonnegative(GradientTransformation):
    """Set to zero the parameters that an update would make negative.

        u = max(g, -p)

    Place it last in a chain: p + u is then at least zero, exactly. Parameters that are
    already negative move to zero. `update` needs `params`.

    Raises:
      ValueError: if `update` is given no `params`.
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
    """Replace NaN by zero, and record which leaves had one.

        u = 0 where g is NaN, else g

    The state has a bool for each leaf of the last updates. Infinities stay.
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
