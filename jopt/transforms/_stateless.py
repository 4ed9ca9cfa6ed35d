"""Transformations without a state: functions of the updates, identity, zeros."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    PyTree,
    dtype_of,
    leaves_like,
    map_leaves,
    pytree,
    standard_promotion,
    static,
    wide,
)


@pytree
class Stateless(GradientTransformation):
    """Apply a function to the updates.

        u = f(g, p)

        tx = jopt.stateless(lambda updates, params: jax.tree.map(jnp.tanh, updates))

    The numbers inside the function are constants of the program, and two lambdas never
    compare equal. A class that derives from `jopt.GradientTransformation` avoids both.

    Args:
      f: function of the updates and the params, trees in at least float32, that returns
        a tree like the updates; the result is cast to their dtypes. The params are None
        if `update` was given none.
    """

    f: Callable[[PyTree, PyTree | None], PyTree] = static()

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        with standard_promotion():
            made = self.f(*jax.tree.map(wide, (updates, params)))
        leaves, structure = jax.tree.flatten(updates)
        kept = [
            jnp.asarray(new, dtype_of(old))
            for new, old in zip(leaves_like(updates, made), leaves, strict=True)
        ]
        return structure.unflatten(kept), state


@pytree
class StatelessWithTreeMap(GradientTransformation):
    """Apply a function to each leaf of the updates.

        u = f(g, p)

        tx = jopt.stateless_with_tree_map(lambda g, p: jnp.tanh(g))

    For the numbers inside the function see `stateless`.

    Args:
      f: function of a leaf of the updates and of the params, arrays in at least
        float32, that returns an array like the first. The second is None if `update`
        was given no params.
    """

    f: Callable[[jax.Array, jax.Array | None], jax.Array] = static()

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        if params is None:
            return map_leaves(lambda g: self.f(g, None), updates), state
        return map_leaves(self.f, updates, params), state


@pytree
class Identity(GradientTransformation):
    """Return the updates as they are.

    u = g
    """

    shapeless = True

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        return updates, state


@pytree
class SetToZero(GradientTransformation):
    """Return zeros, which freezes the parameters.

    u = 0
    """

    any_dtype = True
    shapeless = True

    def frozen(self, params):
        return [True] * len(jax.tree.leaves(params))

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        return jax.tree.map(jnp.zeros_like, updates), state


stateless = Stateless
stateless_with_tree_map = StatelessWithTreeMap
identity = Identity
set_to_zero = SetToZero
