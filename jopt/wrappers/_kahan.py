"""Kahan summation: low-precision parameters and the rounding errors of their steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    PyTree,
    Transformation,
    as_transformation,
    field,
    leaves_like,
    needed,
    pytree,
    wide,
)
from jopt.wrappers._low_precision import is_low, move, rounded
from jopt.wrappers._masked import MaskedNode


class KahanState(NamedTuple):
    """The rounding errors of the parameters, and the state of the inner optimizer."""

    compensation: PyTree  # like the low-precision params; MaskedNode() for others
    inner_state: PyTree  # of the inner transformation


@pytree
class Kahan(GradientTransformation):
    """Add the rounding error of each step to the next step.

        u = inner(g, p) + k
        p' = round(p + u)        k <- u - (p' - p)

    In bfloat16 a number keeps 8 bits: 1 + 0.001 is 1, so every small step is lost. Here
    they add up in k, which is stored in p's dtype: together the two hold 16 bits, for
    half the memory of `master_weights`. Steps below that, of less than about p/65536,
    are lost as before. (float16: p/4194304, but it has no numbers below 6e-8.)

    Parameters of at least float32 take inner's updates as they are, and have no k.
    `update` needs `params`.

    Args:
      inner: a whole optimizer; it sees gradients and parameters in float32.

    Raises:
      ValueError: if `update` is given no `params`, or params of other dtypes than
        `init` was given.

    Kahan 1965, https://doi.org/10.1145/363707.363723; for training in bfloat16, Zamirai
    et al. 2020, https://arxiv.org/abs/2010.06192.
    """

    inner: Transformation = field(converter=as_transformation)

    shapeless = True

    def init(self, params):
        def leaf(p: jax.Array) -> jax.Array | MaskedNode:
            # Computed from p, so that `depends_on_values` counts it as a copy of p.
            return jnp.asarray(p) - p if is_low(p) else MaskedNode()

        inner = self.inner.init(jax.tree.map(wide, params))
        return KahanState(jax.tree.map(leaf, params), inner)

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that are rounded")
        grads, seen = jax.tree.map(wide, (updates, params))
        steps, inner = self.inner.update(grads, state.inner_state, seen, **extra)
        leaves, structure = jax.tree.flatten(updates)
        places = leaves_like(updates, params)
        kept, held = jax.tree.flatten(state.compensation)
        if [k.dtype for k in kept] != [p.dtype for p in places if is_low(p)]:
            raise ValueError(
                "Kahan: the params have other dtypes than those that init was given; "
                "cast them first, then call init."
            )
        missing = iter(kept)
        rows = zip(leaves, places, leaves_like(updates, steps), strict=True)
        made = [
            _moved(g, p, s, next(missing)) if is_low(p) else (s.astype(g.dtype), None)
            for g, p, s in rows
        ]
        compensation = held.unflatten(k for _, k in made if k is not None)
        moves = structure.unflatten(u for u, _ in made)
        return moves, KahanState(compensation, inner)


kahan = Kahan


@jax.jit
def _moved(
    g: jax.Array, p: jax.Array, step: jax.Array, k: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the update of one leaf in its gradient's dtype, and the new k."""
    asked = step.astype(jnp.float32) + wide(k)
    update = move(g, p, rounded(wide(p) + asked, p.dtype))
    got = rounded(wide(p) + wide(update), p.dtype) - wide(p)
    return update, (asked - got).astype(k.dtype)
