"""The distance from the parameters that `init` was given."""

import jax

from jopt.core import PyTree, global_norm, map_leaves

STEP = "the parameters, whose distance from their start is the step"


def from_start(params: PyTree, start: PyTree) -> jax.Array:
    """Return the norm of `params - start` over all leaves."""
    return global_norm(map_leaves(lambda s, p: p - s, start, params))
