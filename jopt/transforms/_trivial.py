"""Transformations that do nothing, or nothing else: identity, set_to_zero."""

import jax
import jax.numpy as jnp

from jopt.core import EmptyState, GradientTransformation, pytree


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


identity = Identity
set_to_zero = SetToZero
