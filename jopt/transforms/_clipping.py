"""Limits on the size of the updates: by value, by global norm."""

import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Number,
    check,
    global_norm,
    map_leaves,
    pytree,
    shrink,
)


@pytree
class Clip(GradientTransformation):
    """Limit each coordinate.

        u = clip(g, -max_delta, max_delta)

    Args:
      max_delta: greatest modulus, at least 0, in units of the updates.
    """

    max_delta: Number

    shapeless = True

    def __post_init__(self):
        check(self, "max_delta", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        limit = self.max_delta
        return map_leaves(lambda g: jnp.clip(g, -limit, limit), updates), state


@pytree
class ClipByGlobalNorm(GradientTransformation):
    """Shrink all updates together until their norm is at most `max_norm`.

        u = g min(1, max_norm / |g|),  |g| = root of the sum of all squares

    The norm is summed in at least float32 over all leaves, whatever their dtypes.

    Args:
      max_norm: greatest norm, at least 0, in units of the updates; infinity turns the
        clipping off.

    Pascanu et al. 2012, https://arxiv.org/abs/1211.5063, Algorithm 1.
    """

    max_norm: Number

    shapeless = True

    def __post_init__(self):
        check(self, "max_norm", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        factor = shrink(global_norm(updates), self.max_norm)
        return map_leaves(lambda g: factor * g, updates), state


clip = Clip
clip_by_global_norm = ClipByGlobalNorm
ClipState = EmptyState
ClipByGlobalNormState = EmptyState
