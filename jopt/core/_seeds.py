"""A transformation's `key` and `seed`: one of them, and the key that they mean."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def settle_seed(self: Any) -> None:
    """Let `self.seed` hold a seed that was given as `self.key`.

    Raises a ValueError if both are given.
    """
    if self.key is not None and self.seed is not None:
        raise ValueError(
            f"{type(self).__name__}: only one of key and seed must be given, got "
            f"{self.key} and {self.seed}; seed={self.seed} means key={self.seed}."
        )
    if isinstance(self.key, (int, np.integer)):
        # A leaf is a number with a gradient, and a seed is none.
        self.__dict__["seed"] = int(self.key)
        self.__dict__["key"] = None


def first_key(key: Any, seed: int | None) -> jax.Array:
    """Return the key to begin with: the one given, or that of the seed, or of 0."""
    if key is None or isinstance(key, (int, np.integer)):
        return jax.random.key(seed or 0)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if key.ndim == 0:
        # A seed that became data on the way, in inject_hyperparams for one.
        return jax.random.key(key.astype(jnp.int32))
    return jax.random.wrap_key_data(key)


def words_of(key: jax.Array) -> jax.Array:
    """Return what a state holds of a key: numbers, which every format can save."""
    return jax.random.key_data(key)


def key_of(words: jax.Array, key: Any) -> jax.Array:
    """Return the key of these words, of the kind of the transformation's `key`."""
    typed = jnp.issubdtype(getattr(key, "dtype", int), jax.dtypes.prng_key)
    impl = jax.random.key_impl(key) if typed else None
    return jax.random.wrap_key_data(words, impl=impl)
