"""The `key` and `seed` of a transformation that draws random numbers."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class _Seeded(Protocol):
    """An object with the fields `key` and `seed`; a user gives at most one of them."""

    @property
    def key(self) -> jax.Array | int | None: ...

    @property
    def seed(self) -> int | None: ...


def resolve_seed(self: _Seeded) -> None:
    """Move an integer that was given as `self.key` to `self.seed`.

    Args:
      self: the transformation, with the fields `key` and `seed`.

    Raises:
      ValueError: if both are given.
    """
    if self.key is not None and self.seed is not None:
        raise ValueError(
            f"{type(self).__name__}: only one of key and seed must be given, got "
            f"{self.key} and {self.seed}; seed={self.seed} means key={self.seed}."
        )
    if isinstance(self.key, (int, np.integer)):
        # `key` is a leaf, a number with a gradient, and a seed is not.
        self.__dict__["seed"] = int(self.key)
        self.__dict__["key"] = None


def initial_key(key: jax.Array | int | None, seed: int | None) -> jax.Array:
    """Return the given key or else the key of the seed, which is 0 by default.

    Args:
      key: a key, the integer of one, or None.
      seed: an integer, used where there is no key, or None.
    """
    if key is None or isinstance(key, (int, np.integer)):
        return jax.random.key(seed or 0)
    if is_typed_key(key):
        return key
    if key.ndim == 0:
        # A seed that became an array, as in inject_hyperparams.
        return jax.random.key(key.astype(jnp.int32))
    return jax.random.wrap_key_data(key)


def is_typed_key(x: Any) -> bool:
    """Return whether `x` is an array or a shape of keys of `jax.random.key`."""
    return jnp.issubdtype(getattr(x, "dtype", float), jax.dtypes.prng_key)


def key_from_data(data: jax.Array, key: Any) -> jax.Array:
    """Return the key with this key data, in the implementation of `key`.

    States hold key data, numbers that every file format can save.

    Args:
      data: the result of `jax.random.key_data`, unsigned integers.
      key: the transformation's `key`; unless it is a typed key, JAX's default
        implementation is used.
    """
    impl = jax.random.key_impl(key) if is_typed_key(key) else None
    return jax.random.wrap_key_data(data, impl=impl)
