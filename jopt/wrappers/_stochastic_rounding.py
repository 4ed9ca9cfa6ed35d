"""Stochastic rounding: low-precision parameters that are right on average."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Key,
    PyTree,
    Transformation,
    as_transformation,
    field,
    increment,
    initial_key,
    key_from_data,
    leaves_like,
    needed,
    pytree,
    resolve_seed,
    static,
    wide,
)
from jopt.wrappers._low_precision import is_low, move, rounded


class StochasticRoundingState(NamedTuple):
    """The source of the random bits, and the state of the inner optimizer."""

    count: jax.Array  # int32[], updates made
    rng_key: jax.Array  # uint32[...], the words of the key
    inner_state: PyTree  # of the inner transformation


@pytree
class StochasticRounding(GradientTransformation):
    """Round low-precision parameters up or down at random, so that small steps count.

        w = p + inner(g, p)
        p <- low + (high - low) b,  low <= w < high,  neighbours in p's dtype
        b = 1 with the probability (w - low) / (high - low), else 0

    In bfloat16 a number keeps 8 bits: 1 + 0.001 is 1. Here it is 1 + 1/128 about once
    in eight times, so that the mean of p is w, without the copy of the parameters that
    `master_weights` keeps. Parameters of at least float32 take inner's updates as they
    are; infinities and NaN stay.

    w is formed in float32, and `apply_updates` arrives at exactly the p above for a
    step of at most half of p, or from p = 0. A longer step, such as one through 0, is
    first rounded to the nearest number of the gradients' dtype: by at most 1/256 of its
    length in bfloat16, 1/2048 in float16.

    `init` puts the key into the state, and update t uses `fold_in(key, t)`: trials with
    one key have the same bits. A key is data and can be swept; a seed is a constant of
    the program. A coordinate's bits depend on its place in its leaf: if leaves are
    joined the results differ, with the same distribution.

    `update` needs `params`.

    Args:
      inner: a whole optimizer; it sees gradients and parameters in float32.
      key: key of the random bits, a key of `jax.random.key` or a seed; by default the
        seed 0.
      seed: a whole number, in place of `key`.

    Raises:
      ValueError: if key and seed are both given, or `update` is given no `params`.

    Gupta et al. 2015, https://arxiv.org/abs/1502.02551, section 3; for training large
    models, Ozkara et al. 2025, https://arxiv.org/abs/2502.20566.
    """

    inner: Transformation = field(converter=as_transformation)
    key: Key | None = None
    seed: int | None = static(default=None, kw_only=True)

    shapeless = True

    def __post_init__(self):
        resolve_seed(self)

    def init(self, params):
        key = initial_key(self.key, self.seed)
        return StochasticRoundingState(
            count=jnp.zeros((), jnp.int32),
            rng_key=jax.random.key_data(key),
            inner_state=self.inner.init(jax.tree.map(wide, params)),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that are rounded")
        grads, seen = jax.tree.map(wide, (updates, params))
        steps, inner = self.inner.update(grads, state.inner_state, seen, **extra)
        leaves, structure = jax.tree.flatten(updates)
        columns = leaves, leaves_like(updates, params), leaves_like(updates, steps)
        key = jax.random.fold_in(key_from_data(state.rng_key, self.key), state.count)
        seeds = jax.random.bits(key, (len(leaves), 2), jnp.uint32)
        moves = [_moved(*row) for row in zip(*columns, seeds, strict=True)]
        count = increment(state.count)
        state = StochasticRoundingState(count, state.rng_key, inner)
        return structure.unflatten(moves), state


stochastic_rounding = StochasticRounding


@jax.jit
def _moved(g: jax.Array, p: jax.Array, step: jax.Array, seeds: jax.Array) -> jax.Array:
    """Return the update of one leaf, in the dtype of its gradient."""
    if not is_low(p):
        return step.astype(g.dtype)
    # As many bits as a float32 sum with a number of p's dtype can hold. With more bits
    # the sum is rounded up, and a parameter whose step is zero would move.
    chance = _uniform(seeds, p.shape, bits=23 - jnp.finfo(p.dtype).nmant)
    target = rounded(
        wide(p) + step.astype(jnp.float32), p.dtype, lambda x: jnp.floor(x + chance)
    )
    return move(g, p, target)


def _uniform(seeds: jax.Array, shape: tuple[int, ...], bits: int) -> jax.Array:
    """Return numbers in [0, 1) of `bits` random bits, from two random words.

    Each coordinate's place is hashed with the constants of triple32
    (https://github.com/skeeto/hash-prospector). That takes a tenth of the time of JAX's
    own random bits, which would take longer than the optimizer.
    """
    x = jnp.zeros(shape, jnp.uint32)
    for axis, size in enumerate(shape):
        x = x * size + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    x = x + seeds[0]
    x = (x ^ (x >> 17)) * jnp.uint32(0xED5AD4BB)
    x = (x ^ (x >> 11) ^ seeds[1]) * jnp.uint32(0xAC4C1B51)
    x = (x ^ (x >> 15)) * jnp.uint32(0x31848BAB)
    return ((x ^ (x >> 14)) >> (32 - bits)).astype(jnp.float32) * 2.0**-bits
