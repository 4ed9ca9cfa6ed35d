"""The update of one step: the gradients are read once and scalars are folded."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Hashable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import optimization_barrier, platform_dependent

from jopt.core import (
    Buckets,
    Chain,
    GradientTransformation,
    PyTree,
    apply_updates,
    global_norm,
    hyperparameters,
    increment,
    map_leaves,
    pack_like,
    shrink,
    standard_promotion,
    stored,
    wide,
)
from jopt.training._devices import Placement
from jopt.training._gradients import Gradients, model_state_after, where
from jopt.training._state import TrainState
from jopt.transforms import ClipByGlobalNorm, identity

# Whether the code traced now will run in a loop on a CPU. XLA copies the state for a
# branch there, and is slow at the gradients of convolutions. A sweep's engine sets it.
in_a_loop = jax.make_user_context(False)


class Metrics(NamedTuple):
    """The metrics of a step: scalars, all on the device.

    Attributes:
      loss: float32[], the loss before the update; float64 where the loss is.
      grad_norm: float32[], norm of all gradients together, before any clipping.
      nonfinite: int32[], number of (micro)batches whose loss or gradients were not
        finite.
      hyperparameters: scalars by name, as the update used them.
      loss_scale: float32[], the scale that the step used; None without one.
      aux: the scalars that the loss function returned with the loss, by name.
    """

    loss: jax.Array
    grad_norm: jax.Array
    nonfinite: jax.Array
    hyperparameters: dict[str, jax.Array]
    loss_scale: jax.Array | None
    aux: dict[str, jax.Array]


def update_state(
    state: TrainState,
    found: Gradients,
    placement: Placement | None = None,
    skips: bool = True,
) -> tuple[TrainState, Metrics, jax.Array]:
    """Take one step of the optimizer.

    Args:
      state: the state before the step.
      found: the gradients of the batch, not yet multiplied by their factors.
      placement: where the arrays of the step lie; None on one device.
      skips: whether a step whose loss or gradients are not finite is skipped, and the
        run continues. If not, the caller ends the run where `finite` is false. Under
        vmap, and in a loop on a CPU, such a step is taken and not detected: a branch
        would run both ways, and a select with another read of the gradients would cost
        a fifth. The loss of the next step shows it.

    Returns:
      The state after the step, its metrics, and `finite`, bool[]: whether loss and
      gradients are finite.
    """
    scale = state.loss_scale
    numbers = hyperparameters(state.tx, state.opt_state)
    factors = [*found.factor, *([] if scale is None else [scale.unscale])]
    packed_grads, norm = _packed_with_norm(state.packed, found.grads, placement)
    norm = _product(norm, *factors)
    # The loss is checked as well, so that XLA schedules its reads before the params
    # are overwritten.
    finite = jnp.isfinite(norm) & jnp.isfinite(found.loss)
    loss = found.loss if scale is None else _product(found.loss, scale.unscale)
    tx, shrunk = _without_clip(_with_numbers_in_one_vector(state.tx), norm)
    factors += [] if shrunk is None else [shrunk]

    def advance(packed: PyTree, opt_state: PyTree) -> tuple[PyTree, PyTree]:
        grads = packed_grads
        if factors:
            # A product with a scalar: XLA folds it into what reads the gradients.
            factor = _product(*factors)
            grads = map_leaves(lambda g: factor * g, jax.tree.map(wide, grads))
        updates, after = tx.update(grads, opt_state, packed, value=loss)
        return apply_updates(packed, updates), after

    packed = state.packed if placement is None else placement.parts(state.packed)
    if not skips:
        finite = jnp.array(True) if in_a_loop.value else _unless_mapped(finite)
    packed, opt_state = _advance_if(finite, advance, packed, state.opt_state)
    # A batch that is all padding is neither a step nor an overflow.
    some = found.counted > 0
    nonfinite = jnp.maximum(found.nonfinite, (~finite & some).astype(jnp.int32))
    new = dataclasses.replace(
        state,
        step=increment(state.step),
        packed=packed,
        model_state=model_state_after(finite, found.model_state, state.model_state),
        opt_state=opt_state,
        skipped=state.skipped + nonfinite if skips else state.skipped,
        loss_scale=None
        if scale is None
        else where(some, scale.after(nonfinite == 0), scale),
    )
    used = None if scale is None else jnp.asarray(scale.scale)
    aux = jax.tree.map(wide, found.metrics)
    return new, Metrics(wide(loss), norm, nonfinite, numbers, used, aux), finite


def _packed_with_norm(
    packed: PyTree, grads: PyTree, placement: Placement | None
) -> tuple[PyTree, jax.Array]:
    """Return the gradients packed like the params, and their norm.

    Only the norm reads the gradients before the optimizer does.
    """
    if placement is None:
        grads = _pack_gradients(packed, grads)
        return grads, _norm_by_shape(grads)
    # Sharded before the barrier, so that sum and slice can become one reduce-scatter.
    # A vector is not: it would be joined from sharded leaves, which are gathered first.
    grads = _pack_gradients(packed, placement.leaf_gradients(packed, grads))
    grads = placement.packed_gradients(grads)
    # Leaf by leaf: the leaves of a stack may have different shardings.
    return grads, global_norm(grads)


def _pack_gradients(packed: PyTree, grads: PyTree) -> PyTree:
    """Return the gradients in the layout of the packed params."""
    if not isinstance(packed, Buckets):
        return pack_like(packed, grads)
    # Without the barrier XLA fuses the backward pass of every leaf into the one
    # concatenation. Leaves outside of the vectors need none: it would keep a GPU from
    # fusing them.
    leaves, structure = jax.tree.flatten(grads)
    joined = [i for numbers in packed.layout.joined for i in numbers]
    behind = optimization_barrier([leaves[i] for i in joined])
    for i, leaf in zip(joined, behind, strict=True):
        leaves[i] = leaf
    return pack_like(packed, structure.unflatten(leaves))


def _norm_by_shape(grads: PyTree) -> jax.Array:
    """Return the global norm, on an NVIDIA GPU in one kernel for each shape.

    A reduction is a kernel or two a leaf, and XLA joins those of a stack. On a CPU it
    would write the stack to memory.
    """

    def by_shape(grads: PyTree) -> jax.Array:
        shapes: dict[Hashable, list[jax.Array]] = {}
        for leaf in jax.tree.leaves(grads):
            shapes.setdefault((leaf.dtype, *leaf.shape), []).append(leaf)
        return global_norm([jnp.stack(leaves) for leaves in shapes.values()])

    return platform_dependent(grads, cuda=by_shape, default=global_norm)


def _without_clip(
    tx: GradientTransformation, norm: jax.Array
) -> tuple[GradientTransformation, jax.Array | None]:
    """Return `tx` without the clipping by norm that it begins with, and its factor.

    The step knows the norm of the gradients already, and the clip would sum it again.
    The factor is None where `tx` does not begin with a clip. The state stays valid.
    """
    if type(tx) is ClipByGlobalNorm:
        return identity(), shrink(norm, tx.max_norm)
    if type(tx) is Chain and tx.transforms:
        first, factor = _without_clip(tx.transforms[0], norm)
        rest = (first, *tx.transforms[1:])
        return dataclasses.replace(tx, transforms=rest), factor
    return tx, None


def _with_numbers_in_one_vector(tx: GradientTransformation) -> GradientTransformation:
    """Return `tx`, on an NVIDIA GPU with its numbers cut out of one vector.

    XLA joins the updates of leaves of one shape to one kernel only where they share an
    operand that is not a scalar.
    """
    leaves, structure = jax.tree.flatten(tx)
    scalars = [
        i for i, x in enumerate(leaves) if x.shape == () and x.dtype == "float32"
    ]

    def cut(*numbers: jax.Array) -> tuple[jax.Array, ...]:
        vector = optimization_barrier(jnp.stack(numbers))
        return tuple(vector[i] for i in range(len(numbers)))

    if scalars:
        given = [leaves[i] for i in scalars]
        made = platform_dependent(*given, cuda=cut, default=lambda *x: x)
        for i, number in zip(scalars, made, strict=True):
            leaves[i] = number
    return structure.unflatten(leaves)


def _advance_if(
    flag: jax.Array, advance: Callable[..., tuple[PyTree, ...]], *held: PyTree
) -> tuple[PyTree, ...]:
    """Return `advance(*held)` where the flag is true, else `held`, in its dtypes.

    On a CPU this is a branch: for a select XLA would copy the old arrays first, and
    AdamW would take more than twice its time. On a GPU a select is free, because one
    kernel computes all.
    """

    def branch(flag: jax.Array, *held: PyTree) -> tuple[PyTree, ...]:
        def changed(*held: PyTree) -> tuple[PyTree, ...]:
            return stored(advance(*held), held)

        return jax.lax.cond(flag, changed, lambda *held: held, *held)

    def select(flag: jax.Array, *held: PyTree) -> tuple[PyTree, ...]:
        return where(flag, advance(*held), held)

    return platform_dependent(flag, *held, cpu=branch, default=select)


@jax.custom_batching.custom_vmap
def _unless_mapped(flag: jax.Array) -> jax.Array:
    """Return the flag; under vmap, return the constant True, without a batch axis."""
    return flag


@_unless_mapped.def_vmap
def _when_mapped(axis_size: int, in_batched: list[bool], flag: jax.Array):
    return jnp.array(True), False


def _product(*scalars: jax.Array) -> jax.Array:
    """Return the product of scalars, in the widest of their dtypes."""
    with standard_promotion():
        return functools.reduce(operator.mul, scalars)
