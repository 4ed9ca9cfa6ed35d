"""Master weights: low-precision parameters that move by less than they can show."""

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
    """The parameters in full, and the state of the optimizer that moves them."""

    master: PyTree  # like params, at least float32
    inner_state: PyTree


@pytree
class MasterWeights(GradientTransformation):
    """Move a float32 copy of the parameters, and the parameters to its rounding.

        w <- w + inner(g, w)        u = round(w) - p

    inner: a whole optimizer; it sees w for the parameters.

    In bfloat16 a number keeps 8 bits: 1 + 0.001 is 1, so small steps are lost each and
    all. Here they add up in w, of at least float32, and p is w rounded to p's dtype;
    what `apply_updates` rounds away of a long jump comes back with the next update.
    `update` needs `params`: it raises a ValueError without.

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

    def parts(self, state):
        return {"inner": (self.inner, state.inner_state)}


master_weights = MasterWeights


@jax.jit
def _moved(g: jax.Array, p: jax.Array, w: jax.Array) -> jax.Array:
    """Return the update of one leaf, in the dtype of its gradient."""
    return move(g, p, rounded(w, p.dtype))
