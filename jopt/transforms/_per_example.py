"""Clipping of per-example gradients, each by its own norm."""

import math

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import (
    Arrays,
    Number,
    PyTree,
    checked,
    dtype_of,
    global_norm,
    map_leaves,
    shrink,
    wide,
)


@checked
def per_example_global_norm_clip(
    grads: Arrays, l2_norm_clip: Number
) -> tuple[PyTree, jax.Array]:
    """Return the sum of the examples' clipped gradients, and how many were clipped.

        sum over i of g_i min(1, l2_norm_clip / |g_i|),  |g| = norm over all leaves

    Args:
      grads: tree of arrays with the example as axis 0, as from `jax.vmap` of
        `jax.grad`.
      l2_norm_clip: greatest norm, at least 0, in units of the gradients; infinity turns
        the clipping off.

    Returns:
      The sums, in the leaves' dtypes (float32 for integers), and the count, int32[].

    Raises:
      ValueError: if axis 0 of a leaf is not as long as the others'; the message names
        the leaf.

    Abadi et al. 2016, https://arxiv.org/abs/1607.00133, Algorithm 1.
    """
    _check_examples("per_example_global_norm_clip", grads)
    grads = jax.tree.map(_inexact, grads)
    factors = shrink(jax.vmap(global_norm)(grads), wide(l2_norm_clip))

    def total(g: jax.Array) -> jax.Array:
        return jnp.tensordot(factors, g, axes=1, precision="highest")

    return map_leaves(total, grads), jnp.sum(factors < 1, dtype=jnp.int32)


@checked
def per_example_layer_norm_clip(
    grads: Arrays, global_l2_norm_clip: Number, uniform: bool = True
) -> tuple[PyTree, PyTree]:
    """Return the sum of the examples' gradients, each leaf clipped by its own norm.

        sum over i of g_i min(1, c / |g_i|),  for each of the K leaves
        c = global_l2_norm_clip sqrt(1 / K), or global_l2_norm_clip sqrt(d / D)

    Args:
      grads: tree of arrays with the example as axis 0.
      global_l2_norm_clip: greatest norm over all leaves, at least 0, in units of the
        gradients.
      uniform: True gives each leaf the same share; False gives it a share by its size
        d, where D is the size of all leaves.

    Returns:
      Two trees: the sums, in the leaves' dtypes, and how many examples were clipped,
      int32[] for each leaf.

    Raises:
      ValueError: if axis 0 of a leaf is not as long as the others'; the message names
        the leaf.

    McMahan et al. 2017, https://arxiv.org/abs/1710.06963.
    """
    _check_examples("per_example_layer_norm_clip", grads)
    leaves, structure = jax.tree.flatten(grads)
    sizes = [1 if uniform else math.prod(leaf.shape[1:]) for leaf in leaves]
    sums, counts = [], []
    for leaf, size in zip(leaves, sizes, strict=True):
        share = (size / max(sum(sizes), 1)) ** 0.5
        clipped, count = per_example_global_norm_clip(leaf, global_l2_norm_clip * share)
        sums.append(clipped)
        counts.append(count)
    return structure.unflatten(sums), structure.unflatten(counts)


def _inexact(g: jax.Array) -> jax.Array:
    return g if jnp.issubdtype(dtype_of(g), jnp.inexact) else wide(g)


def _check_examples(name: str, grads: PyTree) -> None:
    leaves = tree_leaves_with_path(grads)
    shapes = [(keystr(path), jnp.shape(leaf)) for path, leaf in leaves]
    if not shapes:
        raise ValueError(f"{name}: grads must be a tree with a leaf, got {grads!r}.")
    for path, shape in shapes:
        if not shape or shape[0] != shapes[0][1][0]:
            raise ValueError(
                f"{name}: axis 0 of every gradient must be the example, and as long as "
                f"the others', but grads{path} has shape {shape}, and "
                f"grads{shapes[0][0]} {shapes[0][1]}; make them by jax.vmap(jax.grad("
                "loss), in_axes=(None, 0))."
            )
