"""The mathematics of adapters: a kernel plus a product of two thin matrices."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    TreePath,
    abs_sq,
    dtype_of,
    path_text,
    quotient,
    root,
    standard_promotion,
    wide,
    wide_dtype,
)


class Adapter(NamedTuple):
    """The trained parameters that adapt a kernel of shape [*inputs, *outputs]."""

    lora_a: jax.Array  # [*inputs, rank]
    lora_b: jax.Array  # [rank, *outputs]
    lora_magnitude: jax.Array | None = None  # [*outputs], of DoRA


def new_adapter(
    title: str,
    path: TreePath,
    kernel: jax.Array,
    inputs: int,
    rank: int,
    magnitude: bool,
    key: jax.Array,
) -> Adapter:
    """Return an adapter that leaves the kernel as it is.

    Args:
      title: the function named in errors.
      path: the path of the kernel.
      kernel: the kernel.
      inputs: the number of its axes that are inputs.
      rank: the rank.
      magnitude: whether it trains the norms of the columns.
      key: key of the random numbers.

    Raises:
      TypeError: if the kernel is not of real floats.
      ValueError: if the rank is above the smaller side of the kernel, or the kernel is
        a vector.
    """
    name, shape, dtype = path_text(path), kernel.shape, wide_dtype(kernel)
    if kernel.ndim < 2:
        raise ValueError(
            f"{title}: where must choose kernels of two axes or more, but {name} has "
            f"the shape {list(shape)}; leave it out by where."
        )
    if not jnp.issubdtype(dtype_of(kernel), jnp.floating):
        raise TypeError(
            f"{title}: where must choose kernels of real floats, but {name} is "
            f"{dtype_of(kernel)}; leave it out by where."
        )
    rows, columns = math.prod(shape[:inputs]), math.prod(shape[inputs:])
    if rank > min(rows, columns):
        raise ValueError(
            f"{title}: rank must be at most the smaller side of each kernel, got "
            f"{rank} for {name} of {rows} inputs and {columns} outputs; choose a lower "
            "rank, or leave it out by where."
        )
    normal = jax.random.normal(key, (*shape[:inputs], rank), dtype)
    norms = column_norms(wide(kernel), inputs) if magnitude else None
    return Adapter(
        normal / math.sqrt(rows), jnp.zeros((rank, *shape[inputs:]), dtype), norms
    )


def adapted_kernel(kernel: jax.Array, adapter: Adapter, scale: jax.Array) -> jax.Array:
    """Return W + scale A B, or with a magnitude m (W + scale A B) / its norms.

    The norms are of the columns, and constant for a gradient.
    """
    whole, inputs = wide(kernel), adapter.lora_a.ndim - 1
    with standard_promotion():
        a, b = wide(adapter.lora_a), wide(adapter.lora_b)
        change = jnp.tensordot(a, b, 1, precision="highest")
        whole = whole + scale.astype(change.dtype) * change
        if adapter.lora_magnitude is not None:
            norms = jax.lax.stop_gradient(column_norms(whole, inputs))
            shares = quotient(wide(adapter.lora_magnitude), norms)
            whole = whole * jnp.expand_dims(shares, range(inputs))
    return whole.astype(kernel.dtype)


def column_norms(kernel: jax.Array, inputs: int) -> jax.Array:
    """Return the L2 norm over the first axes, which are inputs: [*outputs]."""
    return root(jnp.sum(abs_sq(kernel), axis=tuple(range(inputs))))


def adapted_norms(kernel: jax.Array, adapter: Adapter, scale: jax.Array) -> jax.Array:
    """Return the column norms of W + scale A B, without forming it: [*outputs].

        |w + s A b|^2 = |w|^2 + 2 s (A^T w) . b + s^2 b . (A^T A) b

    So adapters that share a kernel need no array of its size each.
    """
    k, a, b = wide(kernel), wide(adapter.lora_a), wide(adapter.lora_b)
    inside = tuple(range(a.ndim - 1))
    with standard_promotion():
        gram = jnp.tensordot(a, a, (inside, inside))
        once = jnp.tensordot(a, k, (inside, inside))
        twice = jnp.tensordot(gram, b, 1)
        scale = scale.astype(b.dtype)
        grown = jnp.sum((2 * once + scale * twice) * b, axis=0)
        squares = jnp.sum(k * k, axis=inside) + scale * grown
    return root(jnp.maximum(squares, 0))
