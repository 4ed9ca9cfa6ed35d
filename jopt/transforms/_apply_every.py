"""Sums of updates, applied every k steps."""

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
    """The sum of the updates since it was last applied."""

    count: jax.Array  # int32[], updates made
    grad_acc: PyTree  # like params


@pytree
class ApplyEvery(GradientTransformation):
    """Sum k updates, return the sum at the last of them and zeros before.

        a <- g at the first of k updates, else a + g
        u = a at the last of k updates, else 0

    The result is a sum, not a mean, of the updates at this place of the chain: the
    transformations before this one take k steps, and those after it see zeros. To use k
    small batches as one large batch, use `accumulate` instead.

    optax calls the state ApplyEvery and resets its count with each sum. Here the count
    is not reset, so that trials with different k share it.

    Args:
      k: number of updates in a sum, a whole number, at least 1.

    Raises:
      ValueError: if k is not a whole number.
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
