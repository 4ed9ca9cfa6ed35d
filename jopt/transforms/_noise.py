"""Gaussian noise on the updates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Key,
    Number,
    check,
    increment,
    initial_key,
    key_from_data,
    map_leaves,
    normal_like,
    pytree,
    resolve_seed,
    root,
    static,
)


class AddNoiseState(NamedTuple):
    """The number of updates made, and the key of the next noise."""

    count: jax.Array  # int32[], updates made
    rng_key: jax.Array  # uint32[...], the words of the key


@pytree
class AddNoise(GradientTransformation):
    """Add Gaussian noise whose variance decays.

        u = g + sqrt(eta / t^gamma) n,  n of variance 1,  t = 1 at the first update

    `init` stores the key in the state, and all noise is drawn from it: trials with one
    seed have the same noise. A key is a leaf and can be swept; a seed is a constant
    of the program. In complex leaves the variance is that of real and imaginary part
    together.

    Args:
      eta: variance of the first noise, at least 0, in the updates' units squared.
      gamma: exponent of the decay, at least 0; with 0 the variance is constant.
      key: a key of `jax.random.key` or a seed; by default the seed 0.
      seed: a whole number, in place of `key`.

    Raises:
      ValueError: if key and seed are both given.

    Neelakantan et al. 2015, https://arxiv.org/abs/1511.06807.
    """

    eta: Number
    gamma: Number
    key: Key | None = None
    seed: int | None = static(default=None, kw_only=True)

    def __post_init__(self):
        check(self, "eta", "gamma", least=0)
        resolve_seed(self)

    def init(self, params):
        key = initial_key(self.key, self.seed)
        return AddNoiseState(
            count=jnp.zeros((), jnp.int32), rng_key=jax.random.key_data(key)
        )

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        rng_key, key = jax.random.split(key_from_data(state.rng_key, self.key))
        deviation = root(self.eta / count.astype(float) ** self.gamma)
        noise = normal_like(key, updates)
        updates = map_leaves(lambda g, n: g + deviation * n, updates, noise)
        return updates, AddNoiseState(count=count, rng_key=jax.random.key_data(rng_key))


add_noise = AddNoise
