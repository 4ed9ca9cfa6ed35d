"""Master weights: a float32 copy of low-precision parameters."""

from typing import NamedTuple

import jax

from jopt.core import (
    GradientTransformation,
    PyTree,
    Transformation,
    apply_updates,
    as_transformation,
    copied,
    field,
    leaves_like,
    map_leaves,
    needed,
    pytree,
)
from jopt.wrappers._low_precision import move, rounded


class MasterWeightsState(NamedTuple):
    """The parameters in at least float32, and the state of the inner optimizer."""

    master: PyTree  # like params, at least float32
    inner_state: PyTree  # of the inner transformation


@pytree
class MasterWeights(GradientTransformation):
    """Update a float32 copy of the parameters, and round it to the parameters.

        w <- w + inner(g, w)        u = round(w) - p

    In bfloat16 a number keeps 8 bits: 1 + 0.001 is 1, so every small step is lost. Here
    they add up in w, of at least float32, and p is w rounded to p's dtype. If
    `apply_updates` rounds a part of a long step away, the next update makes up for it.
    `update` needs `params`.

    Args:
      inner: a whole optimizer; its parameters are w.

    Raises:
      ValueError: if `update` is given no `params`.

    Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740, section 3.1.
    """

    inner: Transformation = field(converter=as_transformation)

    shapeless = True

    def init(self, params):
        master = copied(params)
        return MasterWeightsState(master, self.inner.init(master))

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that are rounded")
        wide = map_leaves(lambda w, g: g, state.master, updates)
        steps, inner = self.inner.update(wide, state.inner_state, state.master, **extra)
        master = apply_updates(state.master, steps)
        leaves, structure = jax.tree.flatten(updates)
        columns = leaves, leaves_like(updates, params), leaves_like(updates, master)
        moves = [_moved(*row) for row in zip(*columns, strict=True)]
        return structure.unflatten(moves), MasterWeightsState(master, inner)


master_weights = MasterWeights


@jax.jit
def _moved(g: jax.Array, p: jax.Array, w: jax.Array) -> jax.Array:
    """Return the update of one leaf, in the dtype of its gradient."""
    return move(g, p, rounded(w, p.dtype))
