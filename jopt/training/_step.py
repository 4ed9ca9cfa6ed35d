"""`train_step` and `train_steps`: one compiled step for Flax models, or any pytree."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core import (
    Kind,
    Params,
    PyTree,
    State,
    Transformation,
    apply_updates,
    checked,
    hyperparameters,
    increment,
    is_count,
    map_leaves,
    standard_promotion,
    unpack,
    wide,
)
from jopt.training._choice import chosen, model_state_after, taken
from jopt.training._division import Division, Undivided
from jopt.training._donation import Donating
from jopt.training._folded import with_numbers_together, without_clip
from jopt.training._forms import Loss, pure_loss
from jopt.training._gradients import (
    Gradients,
    Weight,
    accumulated,
    key_of,
    leading,
    split,
    whole,
)
from jopt.training._state import TrainState

_Number: TypeAlias = Annotated[
    int, Kind("a whole number of at least 1", is_count, ValueError)
]


class Metrics(NamedTuple):
    """What a step saw; scalars, all on the device."""

    loss: jax.Array  # float32[], before the update
    grad_norm: jax.Array  # float32[], of all gradients together, before any clipping
    nonfinite: jax.Array  # int32[], (micro)batches whose loss or gradients were not
    hyperparameters: dict[str, Any]  # by name, as the update used them
    loss_scale: jax.Array | None  # float32[], as the step used it


@checked
def descend(
    loss: Loss,
    tx: Transformation,
    params: Params,
    model_state: PyTree,
    opt_state: State,
    batch: PyTree,
    key: Any,
) -> tuple[PyTree, PyTree, PyTree, jax.Array]:
    """Take one step of `tx` on `loss`, and compile nothing.

    loss: of (params, model_state, batch, key), the pure form that `pure_loss` returns.
    key: for the loss function, new at every step.

    Returns the new params, model state and optimizer state, and the loss before.
    """
    found = whole(loss, tx, params, model_state, batch, key)
    updates, opt_state = tx.update(found.grads, opt_state, params, value=found.loss)
    params = apply_updates(params, updates)
    return params, found.model_state, opt_state, found.loss


@checked
def train_step(
    loss_fn: Callable[..., Any],
    *,
    accumulate: _Number = 1,
    microbatch: _Number | None = None,
    weight: Weight | None = None,
    shardings: TrainState | None = None,
    axis: str = "data",
) -> Donating:
    """Return a compiled step: `state, metrics = step(state, batch)`.

    loss_fn: called with (model, batch, key), returns a scalar loss. The model is what
    `TrainState.create` was given: an nnx module, which it may change (its batch
    statistics), linen's variables, whose changed collections it returns beside the
    loss, or a tree of parameters. The key is new at every step.

    accumulate: into how many microbatches the batch is cut along the leading axis of
    its arrays; it must divide it. Their gradients are added up one after the other, in
    at least float32, and the optimizer makes one step with the mean: that of the whole
    batch, in the memory of one microbatch. The model's state goes from one to the next.
    The first has the key of a whole batch, and no two microbatches of a run have the
    same key. microbatch: instead, how many examples each has; the last may have fewer.
    weight: what each counts in the mean, a function of the microbatch; by default its
    examples. For a loss that is a mean over tokens give their number:

        jopt.train_step(loss_fn, accumulate=8, weight=lambda batch: batch["mask"].sum())

    A microbatch of weight 0 is padding, and changes nothing: neither the mean nor the
    model's state, nor the random numbers of the others. A batch of nothing but padding
    changes only the step; its loss is NaN, but not counted as a failure. Padding
    within a microbatch is seen by the model: leave it out of the loss, and out of batch
    statistics by the layer's own argument: `nnx.BatchNorm` takes `mask=`.

    shardings: of `state_sharding`, for a state on many devices. They divide the batch,
    by `axis` of their mesh, sum the gradients, and each makes its part of the update;
    what comes back is as of one device, to rounding. Microbatches are then dealt out in
    turn, so that each has as many examples of every device.

    The state is donated: the one passed in is gone, its memory is the new one's. A new
    number in `state.tx` is no new program. A step can be differentiated, backwards too:
    with respect to a rate, say. Inside `jax.grad`, `jax.vmap` or another jitted
    function nothing is donated; that function's own `donate_argnums` says what is.

    A step whose loss or gradients are not finite is skipped, an overflow of the loss
    scale too, and a microbatch left out of the mean:

        advances   the step and with it the key; the model's own random numbers, Flax's
                   `RngKey`, `RngCount` and typed keys; `skipped`; the loss scale
        stays      params; the rest of the model's state, batch statistics for one; the
                   optimizer's state: moments, averages, counts, its own keys

    So the next step draws new dropout masks. The check is the norm's: a sum of squares
    beyond float32's range counts as not finite. A leaf that the transformation freezes
    (`set_to_zero`, by a label or a mask) stops no step: what is not finite in its
    gradient counts as zero.

    What a user's function raises comes out as it is, with notes that say where and
    whether the state can still be used: it can, until the compiled step has begun.
    `checkify.checkify(step)` finds the checks in the loss function.

    Raises a ValueError if `accumulate` or `microbatch` is below 1, or does not fit the
    batch, if the devices cannot share it, if `shardings` are of another state, or if
    the state was given to a step before.
    """
    if accumulate > 1 and microbatch is not None:
        raise ValueError(
            "train_step: give accumulate, how many microbatches, or microbatch, their "
            f"size, not both; got {accumulate} and {microbatch}."
        )

    division = Undivided() if shardings is None else Division(shardings, axis)

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        state, batch = division.state(state), division.batch(batch)
        loss = _loss(loss_fn, state)
        params = unpack(state.packed, true=state.step >= 0)
        if accumulate == 1 and microbatch is None and weight is None:
            held = params, state.model_state
            found = whole(loss, state.tx, *held, batch, key_of(state))
        else:
            dealt = shardings is not None
            parts = split(batch, accumulate, microbatch, dealt)
            found = accumulated(loss, state, params, parts, weight, division)
        return _stepped(state, found, division)

    return Donating(step)


@checked
def train_steps(loss_fn: Callable[..., Any], **kwargs: Any) -> Donating:
    """Return a compiled call of many steps: `state, metrics = steps(state, batches)`.

        batches = jax.tree.map(lambda *x: jnp.stack(x), *ten_batches)
        state, metrics = jopt.train_steps(loss_fn)(state, batches)
        metrics.loss  # of ten steps

    Arguments are those of `train_step`. batches: one batch a step, stacked along a new
    leading axis; so are the metrics. What a call costs on the host is paid once for all
    its steps. (On a CPU XLA's convolutions are slow inside such a loop.)
    """
    step = train_step(loss_fn, **kwargs)

    def steps(state: TrainState, batches: PyTree) -> tuple[TrainState, Metrics]:
        leading(batches, "batches must be stacked, a leading axis of steps")
        return jax.lax.scan(step.function, state, batches)

    return Donating(steps)


def _loss(loss_fn: Callable[..., Any], state: TrainState) -> Loss:
    """The user's loss function, computed in the state's precision, times its scale."""
    precision, scale = state.precision, state.loss_scale

    def loss(params: PyTree, model_state: PyTree, batch: PyTree, key: Any):
        params, batch = precision.computed(params), precision.computed(batch)
        pure = pure_loss(loss_fn, state.form)
        value, model_state = pure(params, model_state, batch, key)
        value = precision.answered(value)
        return value if scale is None else scale.scaled(value), model_state

    return loss


def _stepped(
    state: TrainState, found: Gradients, division: Division | Undivided
) -> tuple[TrainState, Metrics]:
    """Let the optimizer make its step, if the gradients are finite."""
    scale = state.loss_scale
    numbers = hyperparameters(state.tx, state.opt_state)
    factors = [*found.factor, *([] if scale is None else [scale.unscale])]
    packed_grads = division.gradients(state.packed, found.grads)
    # The one reading of the gradients before the optimizer's own.
    norm = _product(division.norm(packed_grads), *factors)
    # The loss too: what is read for it alone is then read before the params change.
    sound = jnp.isfinite(norm) & jnp.isfinite(found.loss)
    value = found.loss if scale is None else _product(found.loss, scale.unscale)
    tx, shrunk = without_clip(with_numbers_together(state.tx), norm)
    factors += [] if shrunk is None else [shrunk]

    def advance(packed: PyTree, opt_state: PyTree):
        grads = packed_grads
        if factors:
            # A product with a scalar: XLA folds it into what reads the gradients.
            factor = _product(*factors)
            grads = map_leaves(lambda g: factor * g, jax.tree.map(wide, grads))
        updates, after = tx.update(grads, opt_state, packed, value=value)
        return apply_updates(packed, updates), after

    before = division.packed(state.packed), state.opt_state
    packed, opt_state = taken(sound, advance, *before)
    # Padding alone is no step, and no overflow either.
    some = found.counted > 0
    nonfinite = jnp.maximum(found.nonfinite, (~sound & some).astype(jnp.int32))
    new = dataclasses.replace(
        state,
        step=increment(state.step),
        packed=division.packed(packed),
        model_state=model_state_after(sound, found.model_state, state.model_state),
        opt_state=opt_state,
        skipped=state.skipped + nonfinite,
        loss_scale=None
        if scale is None
        else chosen(some, scale.after(nonfinite == 0), scale),
    )
    used = None if scale is None else jnp.asarray(scale.scale)
    return division.state(new), Metrics(wide(value), norm, nonfinite, numbers, used)


def _product(*scalars: jax.Array) -> jax.Array:
    """Return the product of scalars, in the widest of their dtypes."""
    with standard_promotion():
        return functools.reduce(operator.mul, scalars)
