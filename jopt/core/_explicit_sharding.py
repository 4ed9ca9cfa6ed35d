"""Explicit sharding: arrays whose type says how a mesh divides them.

Under `jax.set_mesh` with axes of `AxisType.Explicit` an operation must be able to say
how its result is divided. Elementwise rules are; what stacks, flattens or multiplies
leaves gathers them first and divides its result again. Other arrays pass unchanged.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec


def partition_spec(x: Any) -> PartitionSpec:
    """Return which axes of an explicit mesh divide each axis of `x`.

    Axes that are not divided are left out at the end: `PartitionSpec()` is whole.
    """
    axes = list(jax.typeof(x).sharding.spec) if isinstance(x, jax.Array) else []
    while axes and axes[-1] is None:
        axes.pop()
    return PartitionSpec(*axes)


def replicated(x: Any) -> Any:
    """Return `x` whole on every device."""
    return jax.sharding.reshard(x, _on_mesh(x)) if partition_spec(x) else x


def sharded_like(x: Any, like: Any) -> Any:
    """Return `x`, of the shape of `like`, divided as `like` is."""
    spec = partition_spec(like)
    return jax.sharding.reshard(x, _on_mesh(like, *spec)) if spec else x


def sharded(x: jax.Array, spec: PartitionSpec) -> jax.Array:
    """Return `x` divided by the axes of the mesh that `jax.set_mesh` made current."""
    return jax.sharding.reshard(x, spec) if spec else x


def reduced_zeros(
    x: Any, over: Sequence[int], dtype: Any, *, keepdims: bool = False
) -> jax.Array:
    """Return zeros of the shape of `x` reduced over axes, divided as the rest of `x`.

    Args:
      x: an array or its shape.
      over: the axes that are reduced.
      dtype: of the result.
      keepdims: keep the reduced axes, with length 1.
    """
    kept = [i for i in range(len(x.shape)) if keepdims or i not in over]
    shape = [1 if i in over else x.shape[i] for i in kept]
    axes = dict(enumerate(partition_spec(x)))
    if not axes:
        return jnp.zeros(shape, dtype)
    rest = [None if i in over else axes.get(i) for i in kept]
    return jnp.zeros(shape, dtype, device=_on_mesh(x, *rest))


def _on_mesh(x: Any, *axes: Any) -> NamedSharding:
    """The sharding of these axes on the mesh of `x`."""
    of: Any = (jax.typeof(x) if isinstance(x, Tracer) else x).sharding
    return NamedSharding(of.mesh, PartitionSpec(*axes))
