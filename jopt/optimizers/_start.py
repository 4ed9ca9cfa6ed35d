"""The distance from the parameters that `init` was given."""

import jax

from jopt._leaves import global_norm, map_leaves
from jopt._pytree import PyTree

STEP = "the parameters, whose distance from their start is the step"


def from_start(params: PyTree, start: PyTree) -> jax.Array:
    """Return the norm of `params - start` over all leaves."""
    return global_norm(map_leaves(lambda s, p: p - s, start, params))
