"""Sums of updates, let through every so often."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Number,
    PyTree,
    check,
    full_like,
    increment,
    map_leaves,
    pytree,
)


class ApplyEveryState(NamedTuple):
    """The sum since the last update that was let through."""

    count: jax.Array  # int32[], updates made
    grad_acc: PyTree  # like params


@pytree
class ApplyEvery(GradientTransformation):
    """Sum k updates and let the sum through, zeros before.

        a <- g if it is the first of k, else a + g
        u = a if it is the last of k, else 0

    k: a whole number, at least 1.

    It is a sum, not a mean, of what the chain has made until here: parts before this
    one take k steps, and parts after it see zeros. To use k small batches as one large
    batch accumulate the gradients instead.

    optax calls the state ApplyEvery, and its count starts again with each sum; here it
    goes on, so that trials with their own k share it.
    """

    k: Number = 1.0

    shapeless = True

    def __post_init__(self):
        check(self, "k", least=1, most=2**31 - 1)
        if isinstance(self.k, (int, float)) and self.k % 1:
            raise ValueError(f"ApplyEvery: k must be a whole number, got {self.k}.")

    def init(self, params):
        return ApplyEveryState(
            count=jnp.zeros((), jnp.int32), grad_acc=full_like(params)
        )

    def update(self, updates, state, params=None, **extra):
        k = jnp.round(self.k).astype(jnp.int32)
        position = state.count % k

        def rule(g, total):
            total = jnp.where(position == 0, g, total + g)
            return jnp.where(position == k - 1, total, 0), total

        updates, sums = map_leaves(rule, updates, state.grad_acc)
        return updates, ApplyEveryState(count=increment(state.count), grad_acc=sums)


apply_every = ApplyEvery
