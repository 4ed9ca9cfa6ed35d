"""A step's work divided among devices: each makes its part of the update."""

import dataclasses
from typing import Any

import jax
from jax.lax import optimization_barrier, with_sharding_constraint
from jax.sharding import NamedSharding, PartitionSpec

from jopt.core import Buckets, PyTree, global_norm, pack_like, unpack
from jopt.training._folded import norm_of


class Undivided:
    """One device: everything stays as it is."""

    def batch(self, batch: PyTree) -> PyTree:
        return batch

    def by_leaf(self, packed: PyTree, grads: PyTree) -> PyTree:
        return grads

    def gradients(self, packed: PyTree, grads: PyTree) -> PyTree:
        return _joined(packed, grads)

    def norm(self, grads: PyTree) -> jax.Array:
        return norm_of(grads)

    def packed(self, tree: PyTree) -> PyTree:
        return tree

    def state(self, state: Any) -> Any:
        return state


@dataclasses.dataclass(frozen=True)
class Division:
    """Where a step's arrays lie. Else the compiler would gather all on every device.

    shardings: of the state, a `TrainState` of `NamedSharding`s. axis: of their mesh,
    the one that divides the batch.
    """

    shardings: Any
    axis: str

    def __post_init__(self):
        mesh = getattr(self.shardings.step, "mesh", None)
        if mesh is None or self.axis not in mesh.shape:
            axes = "none" if mesh is None else ", ".join(mesh.shape)
            raise ValueError(
                "train_step: axis must be one of the mesh that shardings are on, got "
                f"{self.axis!r}; there is {axes}. Make them by jopt.state_sharding."
            )

    def batch(self, batch: PyTree) -> PyTree:
        """Return the batch divided along the leading axis of its arrays.

        Arrays whose leading axis cannot be stay as they are. Raises a ValueError if
        that is so of all.
        """
        mesh = self.shardings.step.mesh
        size = mesh.shape[self.axis]

        def leaf(x: Any) -> Any:
            if not _divides(size, x):
                return x
            free = [PartitionSpec.UNCONSTRAINED] * (x.ndim - 1)
            spec = PartitionSpec(self.axis, *free)
            return with_sharding_constraint(x, NamedSharding(mesh, spec))

        if not any(_divides(size, x) for x in jax.tree.leaves(batch)):
            shapes = ", ".join(str(list(x.shape)) for x in jax.tree.leaves(batch))
            raise ValueError(
                f"train_step: {size} devices share a batch, so the leading axis of its "
                f"arrays must be a multiple of {size}, but their shapes are "
                f"{shapes or 'none'}."
            )
        return jax.tree.map(leaf, batch)

    def by_leaf(self, packed: PyTree, grads: PyTree) -> PyTree:
        """Return gradients as they come, summed; of each the device's part.

        Those that will be joined are whole: the vector is divided.
        """
        return _constrained(grads, unpack(self._whole_vectors(packed)))

    def gradients(self, packed: PyTree, grads: PyTree) -> PyTree:
        """Return gradients, packed like the params; the device's part of each."""
        # Divided before the barrier: sum and cut can become one reduce-scatter. Divided
        # at once, a vector would be made of leaves in parts, and those collected first.
        grads = _joined(packed, self.by_leaf(packed, grads))
        return self.packed(_constrained(grads, self._whole_vectors(packed)))

    def norm(self, grads: PyTree) -> jax.Array:
        """Return the global norm; a sum for each: a stack's leaves may lie apart."""
        return global_norm(grads)

    def packed(self, tree: PyTree) -> PyTree:
        """Return packed params; the device's part of each."""
        return _constrained(tree, self._parts(tree))

    def state(self, state: Any) -> Any:
        """Return a state that lies as the one before the step did.

        Raises a ValueError if the shardings are those of another state.
        """
        given, held = (len(jax.tree.leaves(x)) for x in (self.shardings, state))
        if given != held:
            raise ValueError(
                f"train_step: shardings are of a state of {given} arrays, but this one "
                f"has {held}; make them of its own shapes: jopt.state_sharding("
                "jax.eval_shape(lambda: state), params_sharding)."
            )
        return _constrained(state, self.shardings)

    def _whole_vectors(self, packed: PyTree) -> PyTree:
        parts = self._parts(packed)
        if not isinstance(parts, Buckets):
            return parts
        whole = self.shardings.packed.vectors
        return Buckets(whole, parts.leaves, parts.layout)

    def _parts(self, packed: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(packed)
        shardings = jax.tree.leaves(self.shardings.packed)
        return structure.unflatten(
            divided(x.shape, sharding, self.axis)
            for x, sharding in zip(leaves, shardings, strict=True)
        )


def divided(
    shape: tuple[int, ...], sharding: NamedSharding, axis: str
) -> NamedSharding:
    """Return `sharding`, and `axis` along the first dimension that is free and fits.

    The first, since parts of leading rows lie in one piece. It stays as it is if there
    is none, or if `axis` divides the array already.
    """
    spec = [*sharding.spec, *[None] * (len(shape) - len(sharding.spec))]
    size = sharding.mesh.shape[axis]
    free = [d for d, taken in enumerate(spec) if not taken and not shape[d] % size]
    if any(axis == taken or axis in (taken or ()) for taken in spec) or not free:
        return sharding
    spec[free[0]] = axis
    while spec[-1] is None:  # as in what a compiled program answers
        spec.pop()
    return sharding.update(spec=PartitionSpec(*spec))


def _joined(packed: PyTree, grads: PyTree) -> PyTree:
    if not isinstance(packed, Buckets):
        return pack_like(packed, grads)
    # Else XLA fuses the backward pass of every leaf into the one concatenation. What
    # stays alone needs no barrier: it would keep a GPU from fusing it.
    leaves, structure = jax.tree.flatten(grads)
    joined = [i for numbers in packed.layout.joined for i in numbers]
    behind = optimization_barrier([leaves[i] for i in joined])
    for i, leaf in zip(joined, behind, strict=True):
        leaves[i] = leaf
    return pack_like(packed, structure.unflatten(leaves))


def _divides(size: int, x: Any) -> bool:
    return x.ndim > 0 and x.shape[0] % size == 0


def _constrained(tree: PyTree, shardings: PyTree) -> PyTree:
    # By number: a tree made twice may differ in what its nodes say of themselves.
    leaves = jax.tree.leaves(shardings)
    return with_sharding_constraint(tree, jax.tree.structure(tree).unflatten(leaves))
