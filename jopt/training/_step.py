"""`train_step` and `train_steps`: one compiled step for Flax models, or any pytree."""

from typing import Annotated, Any, TypeAlias

import jax

from jopt.core import (
    Kind,
    Params,
    PyTree,
    State,
    Transformation,
    apply_updates,
    checked,
    is_count,
    unpack,
)
from jopt.training._devices import Placement
from jopt.training._donation import CompiledStep
from jopt.training._forms import LossFn, PureLoss, pure_loss
from jopt.training._gradients import (
    Weight,
    accumulated_gradients,
    batch_gradients,
    common_length,
    key_of,
    microbatches,
)
from jopt.training._state import TrainState
from jopt.training._update import Metrics, update_state

_Number: TypeAlias = Annotated[
    int, Kind("a whole number of at least 1", is_count, ValueError)
]


@checked
def descend(
    loss: PureLoss,
    tx: Transformation,
    params: Params,
    model_state: PyTree,
    opt_state: State,
    batch: PyTree,
    key: Any,
) -> tuple[PyTree, PyTree, PyTree, jax.Array]:
    """Take one step of `tx` on `loss`, without compiling anything.

    Args:
      loss: function of (params, model_state, batch, key), as `pure_loss` returns it.
      tx: the gradient transformation.
      params: tree of float or complex arrays.
      model_state: what else the model holds.
      opt_state: the state of `tx`.
      batch: tree of arrays.
      key: key for the loss function, a new one at every step.

    Returns:
      The new params, model state and optimizer state, and the loss before the step, a
      scalar.
    """
    found = batch_gradients(loss, tx, params, model_state, batch, key)
    updates, opt_state = tx.update(found.grads, opt_state, params, value=found.loss)
    params = apply_updates(params, updates)
    return params, found.model_state, opt_state, found.loss


@checked
def train_step(
    loss_fn: LossFn,
    *,
    accumulate: _Number = 1,
    microbatch: _Number | None = None,
    weight: Weight | None = None,
    shardings: TrainState | None = None,
    axis: str = "data",
) -> CompiledStep[Metrics]:
    """Return a compiled step: `state, metrics = step(state, batch)`.

        def loss_fn(model, batch, key):
            images, labels = batch
            return cross_entropy(model(images), labels).mean()

        state = jopt.TrainState.create(model, jopt.adamw(1e-3))
        step = jopt.train_step(loss_fn)
        for batch in batches:
            state, metrics = step(state, batch)

    **Donation.** The step donates the state: the state that was passed in is deleted,
    and the new one is written into its memory. Inside `jax.grad`, `jax.vmap` or another
    jitted function nothing is donated; that function's own `donate_argnums` decides. A
    new number in `state.tx` does not compile a new program. A step can be
    differentiated, in forward and in reverse mode: with respect to a learning rate, for
    example.

    **Steps that are not finite.** A step whose loss or gradients are not finite is
    skipped; so is one that overflows under the loss scale. While accumulating, a
    microbatch that is not finite is left out of the mean instead.

        advances   the step and with it the key; the model's own random numbers, Flax's
                   `RngKey`, `RngCount` and typed keys; `skipped`; the loss scale
        stays      params; the rest of the model's state, such as batch statistics; the
                   optimizer's state: moments, averages, counts, its own keys

    So the next step draws new dropout masks. The check reads the norm of the gradients:
    a sum of squares beyond float32's range counts as not finite. A leaf that the
    transformation freezes (`set_to_zero`, by a label or a mask) never causes a skip:
    the numbers of its gradient that are not finite count as zero.

    **Accumulation.** The gradients of the microbatches are added up one after the other
    in at least float32, and the optimizer takes one step with their mean: the mean of
    the whole batch, in the memory of one microbatch. The model's state is handed from
    one microbatch to the next. The first microbatch has the key of a whole batch, and
    no two microbatches of a run have the same key. Each counts in the mean by its
    number of examples. For a loss that is a mean over tokens, weigh it by their number:

        jopt.train_step(loss_fn, accumulate=8, weight=lambda batch: batch["mask"].sum())

    A microbatch of weight 0 is padding. It changes neither the mean nor the model's
    state nor the random numbers of other microbatches. A batch that is all padding
    changes only the step; its loss is NaN but does not count as a failure. Padding
    within a microbatch is seen by the model: leave it out of the loss, and out of batch
    statistics by the layer's own argument, such as `mask=` of `nnx.BatchNorm`.

    **Errors.** An exception from a user's function propagates unchanged, with notes
    that say where it was raised and whether the state can still be used: it can, until
    the compiled step has begun. `checkify.checkify(step)` finds the checks in the loss
    function.

    Args:
      loss_fn: called with (model, batch, key), returns a real scalar loss. The model is
        what `TrainState.create` was given: an nnx module, which the function may change
        (its batch statistics); linen's variables, whose changed collections the
        function returns beside the loss; or a tree of parameters. The key is new at
        every step.
      accumulate: number of microbatches, at least 1. The batch is cut along the leading
        axis of its arrays, whose length must be a multiple of it.
      microbatch: number of examples in a microbatch, at least 1, in place of
        `accumulate`; the last microbatch may have fewer.
      weight: function of a microbatch that returns its weight in the mean, a scalar. By
        default the weight is the number of examples.
      shardings: what `state_sharding` returned, for a state on many devices. The
        devices divide the batch, sum the gradients, and each makes its part of the
        update. The results are those of one device, to rounding. Examples are then
        dealt out to the microbatches in turn, so that each microbatch has as many
        examples of every device.
      axis: axis of the shardings' mesh that divides the batch.

    Returns:
      A function of (state, batch) that returns the `TrainState` after the step and its
      `Metrics`, scalars.

    Raises:
      ValueError: if `accumulate` or `microbatch` is below 1 or both are given, or if
        the mesh of the shardings has no such axis. The step raises it if `accumulate`
        does not divide the batch, if the devices cannot share the batch, if `shardings`
        are of another state, if the model state that the loss function returns has
        another structure, or if the state was given to a step before.
      TypeError: raised by the step if the loss is no real scalar, or the weight no
        number.
    """
    if accumulate > 1 and microbatch is not None:
        raise ValueError(
            "train_step: give accumulate, how many microbatches, or microbatch, their "
            f"size, not both; got {accumulate} and {microbatch}."
        )
    placement = None if shardings is None else Placement(shardings, axis)

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        loss = _loss_in_precision(loss_fn, state)
        params = unpack(state.packed, true=state.step >= 0)
        if accumulate == 1 and microbatch is None and weight is None:
            held = params, state.model_state
            found = batch_gradients(loss, state.tx, *held, batch, key_of(state))
        else:
            parts = microbatches(batch, accumulate, microbatch, shardings is not None)
            found = accumulated_gradients(loss, state, params, parts, weight, placement)
        return update_state(state, found, placement)

    return CompiledStep(step if placement is None else placement.around(step))


@checked
def train_steps(loss_fn: LossFn, **kwargs: Any) -> CompiledStep[Metrics]:
    """Return a compiled call of many steps: `state, metrics = steps(state, batches)`.

        batches = jax.tree.map(lambda *x: jnp.stack(x), *ten_batches)
        state, metrics = jopt.train_steps(loss_fn)(state, batches)
        metrics.loss  # float32[10]

    The host pays for a call once, instead of once a step. On a CPU, XLA's convolutions
    are slow inside such a loop.

    Args:
      loss_fn: as for `train_step`.
      **kwargs: as for `train_step`.

    Returns:
      A function of (state, batches) that returns the `TrainState` after the last step
      and the `Metrics` of all steps. `batches` holds one batch a step, stacked along a
      new leading axis; the metrics have the same leading axis.

    Raises:
      ValueError: as `train_step` does; the function raises it if the arrays of
        `batches` do not share a leading axis.
    """
    step = train_step(loss_fn, **kwargs)

    def steps(state: TrainState, batches: PyTree) -> tuple[TrainState, Metrics]:
        common_length(batches, "batches must be stacked, a leading axis of steps")
        return jax.lax.scan(step.function, state, batches)

    return CompiledStep(steps)


def _loss_in_precision(loss_fn: LossFn, state: TrainState) -> PureLoss:
    """Return the loss function in the state's precision, multiplied by its scale."""
    precision, scale = state.precision, state.loss_scale

    def loss(
        params: PyTree, model_state: PyTree, batch: PyTree, key: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        params, batch = precision.computed(params), precision.computed(batch)
        pure = pure_loss(loss_fn, state.form)
        value, model_state = pure(params, model_state, batch, key)
        value = precision.answered(value)
        return value if scale is None else scale.scaled(value), model_state

    return loss
