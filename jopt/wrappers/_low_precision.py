"""Rounding to a low-precision dtype, and updates that reach the rounded parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jopt.core import DType, dtype_of, wide, wide_dtype

LEAST = 2.0**-126
"""The least number that no processor flushes to zero."""


def is_low(x: jax.Array) -> bool:
    """Return whether `x` has a low-precision dtype, in which nothing is computed."""
    return wide_dtype(x) != dtype_of(x)


def rounded(
    x: jax.Array, dtype: DType, rounding: Callable[[jax.Array], jax.Array] = jnp.round
) -> jax.Array:
    """Return `x`, in float32, rounded to a number of `dtype`, still in float32.

    The rounding is by arithmetic, because a compiler may remove a conversion to `dtype`
    and back. If `x` or `dtype` is another wide dtype, `x` is returned. The derivative
    is that of `x` itself. Infinities and NaN stay.

    Args:
      x: float32 array.
      dtype: dtype to round to.
      rounding: function that rounds to integers; by default to the nearest, halves to
        the even one.
    """
    if x.dtype != jnp.float32 or jnp.dtype(dtype).itemsize >= 4:
        return x
    unit = _spacing(x, jnp.finfo(dtype))
    beyond = jax.lax.stop_gradient(rounding(x / unit) * unit - x)
    return jnp.where(jnp.isfinite(x), x + beyond, x)


def move(like: jax.Array, p: jax.Array, target: jax.Array) -> jax.Array:
    """Return the update, in the dtype of `like`, that takes `p` to `target`.

    If `target` is at least half of p and at most twice p, or p is 0, `apply_updates`
    arrives at `target` exactly. A longer update is itself rounded to like's dtype.

    Args:
      like: array with the dtype of the update.
      p: low-precision parameters.
      target: wide array of numbers that p's dtype can represent.
    """
    p = wide(p)
    # Infinity minus infinity is NaN.
    way = jnp.where(jnp.isinf(p) & (p == target), 0, target - p)
    return rounded(way, dtype_of(like)).astype(dtype_of(like))


def _spacing(x: jax.Array, info: Any) -> jax.Array:
    """Return the distance of the dtype's numbers around `x`, a power of two."""
    exponent = jax.lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0x7F800000)
    power = jax.lax.bitcast_convert_type(exponent, jnp.float32)
    least = max(float(info.smallest_subnormal), LEAST)
    return jax.lax.stop_gradient(jnp.maximum(power * float(info.eps), least))
