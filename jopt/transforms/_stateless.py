"""Transformations made of a function, without a state."""

from collections.abc import Callable
from typing import Any

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
    static,
    wide,
)


@pytree
class Stateless(GradientTransformation):
    """Apply a function to the updates.

        u = f(g, p)

    f: of the updates and the params, trees in at least float32; it returns a tree like
    the updates, whose dtypes come out. The params are None if `update` was given none.

        tx = jopt.stateless(lambda updates, params: jax.tree.map(jnp.tanh, updates))

    The function's own numbers are constants of the program, and two lambdas are never
    the same function: a class as in `jopt.GradientTransformation` has neither trouble.
    """

    f: Callable[[PyTree, PyTree | None], PyTree] = static()

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        # Others count on JAX's own promotion, whatever the user's is.
        with jax.numpy_dtype_promotion("standard"):
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

    f: of a leaf of the updates and of the params, arrays in at least float32; it
    returns an array like the first. The second is None if `update` was given no params.

        tx = jopt.stateless_with_tree_map(lambda g, p: jnp.tanh(g))

    For the function's own numbers see `stateless`.
    """

    f: Callable[[jax.Array, Any], jax.Array] = static()

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
