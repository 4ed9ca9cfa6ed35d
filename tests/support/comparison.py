"""Compare results of transformations: mapped, in another library, in float64."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def stack(trees: list[Any]) -> Any:
    """Stack the leaves of trees of one structure along a new axis 0."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def assert_close(got: Any, wanted: Any, rtol: float, scale: float = 2e-7) -> None:
    """Assert that trees of arrays are close; axis 0 of their leaves is the step.

    `rtol` is a fraction of the value, `scale` one of the coordinate's greatest value:
    a sum that passes through zero keeps the rounding of its terms.
    """
    ours, theirs = jax.tree.leaves(got), jax.tree.leaves(wanted)
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        y = np.asarray(y)
        size = np.max(np.abs(y), axis=0, initial=0, keepdims=True)
        slack = rtol * np.abs(y) + scale * size
        np.testing.assert_array_less(np.abs(np.asarray(x) - y), slack + 1e-30)


def compiled_quickly(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compile as fast as this version of XLA can, without optimizations."""
    options: Any = {"xla_backend_optimization_level": 0}
    try:
        return lowered.compile(options | {"xla_cpu_use_fusion_emitters": False})
    except jax.errors.JaxRuntimeError:  # it has no others any more
        return lowered.compile(options)


def call_unoptimized(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function`, compiled without optimizations, which saves time."""
    return compiled_quickly(jax.jit(function).lower(*args))(*args)


@contextlib.contextmanager
def relaxed() -> Iterator[None]:
    """Use JAX's default promotion rules, which optax relies on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def key_data(tree: Any) -> Any:
    """Replace the random keys of a tree by their bits, which can be compared."""

    def leaf(x: Any) -> Any:
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if is_key else x

    return jax.tree.map(leaf, tree)
