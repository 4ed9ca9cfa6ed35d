"""What a step reads and multiplies once: the gradients' norm, a clip, the numbers."""

import dataclasses
from collections.abc import Hashable

import jax
import jax.numpy as jnp

from jopt.core import Chain, GradientTransformation, PyTree, global_norm, shrink
from jopt.transforms import ClipByGlobalNorm, identity


def without_clip(
    tx: GradientTransformation, norm: jax.Array
) -> tuple[GradientTransformation, jax.Array | None]:
    """Return `tx` without the clipping by norm that it begins with, and its factor.

    norm: of the gradients; a step knows it already, and the clip would sum it again.
    None for a factor where `tx` does not begin with a clip. The state stays valid.
    """
    if type(tx) is ClipByGlobalNorm:
        return identity(), shrink(norm, tx.max_norm)
    if type(tx) is Chain and tx.transforms:
        first, factor = without_clip(tx.transforms[0], norm)
        rest = (first, *tx.transforms[1:])
        return dataclasses.replace(tx, transforms=rest), factor
    return tx, None


def norm_of(grads: PyTree) -> jax.Array:
    """Return the global norm, on an NVIDIA GPU in a kernel for each shape.

    A reduction is a kernel or two a leaf, and XLA joins those of a stack. On a CPU it
    would write the stack to memory.
    """

    def by_shape(grads: PyTree) -> jax.Array:
        shapes: dict[Hashable, list[jax.Array]] = {}
        for leaf in jax.tree.leaves(grads):
            shapes.setdefault((leaf.dtype, *leaf.shape), []).append(leaf)
        return global_norm([jnp.stack(leaves) for leaves in shapes.values()])

    return jax.lax.platform_dependent(grads, cuda=by_shape, default=global_norm)


def with_numbers_together(tx: GradientTransformation) -> GradientTransformation:
    """Return `tx`, on an NVIDIA GPU with its numbers cut out of one vector.

    XLA joins the updates of leaves of one shape to one kernel only where they share an
    operand that is no scalar.
    """
    leaves, structure = jax.tree.flatten(tx)
    scalars = [
        i for i, x in enumerate(leaves) if x.shape == () and x.dtype == "float32"
    ]

    def cut(*numbers: jax.Array) -> tuple[jax.Array, ...]:
        vector = jax.lax.optimization_barrier(jnp.stack(numbers))
        return tuple(vector[i] for i in range(len(numbers)))

    if scalars:
        given = [leaves[i] for i in scalars]
        made = jax.lax.platform_dependent(*given, cuda=cut, default=lambda *x: x)
        for i, number in zip(scalars, made, strict=True):
            leaves[i] = number
    return structure.unflatten(leaves)
