"""Round to what a low-precision dtype can show, and move parameters there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jopt.core import dtype_of, wide, wide_dtype

LEAST = 2.0**-126
"""The least number that no processor takes for zero."""


def is_low(x: Any) -> bool:
    """Whether `x` is of a low-precision dtype, in which nothing is computed."""
    return wide_dtype(x) != dtype_of(x)


def rounded(
    x: jax.Array, dtype: Any, rounding: Callable[[jax.Array], jax.Array] = jnp.round
) -> jax.Array:
    """Return `x`, in float32, rounded to a number of `dtype`, and still float32.

    rounding: how to round to integers; by default to the nearest, halves to the even
    one. The derivative is that of `x` itself. What is not finite stays what it is.

    By arithmetic: a compiler may leave out a conversion to `dtype` and back. Where `x`
    or `dtype` is another wide one, `x` is returned.
    """
    if x.dtype != jnp.float32 or jnp.dtype(dtype).itemsize >= 4:
        return x
    unit = _spacing(x, jnp.finfo(dtype))
    beyond = jax.lax.stop_gradient(rounding(x / unit) * unit - x)
    return jnp.where(jnp.isfinite(x), x + beyond, x)


def move(like: Any, p: Any, target: jax.Array) -> jax.Array:
    """Return the update, in the dtype of `like`, that takes `p` to `target`.

    p: low-precision parameters. target: wide, numbers that p's dtype can show. If it is
    at least half of p and at most twice p, or p is 0, `apply_updates` adds them up to
    it exactly. A longer way is itself rounded to like's dtype.
    """
    p = wide(p)
    # Infinity less itself is NaN.
    way = jnp.where(jnp.isinf(p) & (p == target), 0, target - p)
    return rounded(way, dtype_of(like)).astype(dtype_of(like))


def _spacing(x: jax.Array, info: Any) -> jax.Array:
    """Return how far apart the dtype's numbers are around `x`, a power of two."""
    exponent = jax.lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0x7F800000)
    power = jax.lax.bitcast_convert_type(exponent, jnp.float32)
    least = max(float(info.smallest_subnormal), LEAST)
    return jax.lax.stop_gradient(jnp.maximum(power * float(info.eps), least))
