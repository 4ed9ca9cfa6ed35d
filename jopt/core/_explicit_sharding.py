"""Explicit sharding: arrays whose type holds their sharding.

Under `jax.set_mesh` with axes of `AxisType.Explicit`, the sharding of each result must
follow from the operation. It does for elementwise rules. Code that stacks, flattens or
multiplies leaves replicates them first, and shards its result again. These functions
return other arrays unchanged.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec


def partition_spec(x: object) -> PartitionSpec:
    """Return the axes of an explicit mesh that shard each axis of `x`.

    Trailing axes that are not sharded are left out: `PartitionSpec()` is unsharded.

    Args:
      x: an array, or a tracer of one.
    """
    axes = list(jax.typeof(x).sharding.spec) if isinstance(x, jax.Array) else []
    while axes and axes[-1] is None:
        axes.pop()
    return PartitionSpec(*axes)


def replicated(x: Any) -> Any:
    """Return `x` replicated on every device.

    Args:
      x: an array.
    """
    return jax.sharding.reshard(x, _on_mesh(x)) if partition_spec(x) else x


def sharded_like(x: Any, like: Any) -> Any:
    """Return `x`, which has the shape of `like`, with the sharding of `like`.

    Args:
      x: an array.
      like: an array of the same shape.
    """
    spec = partition_spec(like)
    return jax.sharding.reshard(x, _on_mesh(like, *spec)) if spec else x


def sharded(x: jax.Array, spec: PartitionSpec) -> jax.Array:
    """Return `x` sharded over the current mesh, that of `jax.set_mesh`.

    Args:
      x: an array.
      spec: the axes of the mesh for each axis of `x`.
    """
    return jax.sharding.reshard(x, spec) if spec else x


def reduced_zeros(
    x: Any, over: Sequence[int], dtype: Any, *, keepdims: bool = False
) -> jax.Array:
    """Return zeros of the shape of `x` reduced over some axes, and sharded like `x`.

    Args:
      x: an array or its shape.
      over: the axes that are reduced.
      dtype: dtype of the result.
      keepdims: whether reduced axes stay, with length 1.
    """
    kept = [i for i in range(len(x.shape)) if keepdims or i not in over]
    shape = [1 if i in over else x.shape[i] for i in kept]
    axes = dict(enumerate(partition_spec(x)))
    if not axes:
        return jnp.zeros(shape, dtype)
    rest = [None if i in over else axes.get(i) for i in kept]
    return jnp.zeros(shape, dtype, device=_on_mesh(x, *rest))


def _on_mesh(x: Any, *axes: Any) -> NamedSharding:
    """Return the sharding over these axes of the mesh of `x`."""
    of: Any = (jax.typeof(x) if isinstance(x, Tracer) else x).sharding
    return NamedSharding(of.mesh, PartitionSpec(*axes))
