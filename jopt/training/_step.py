"""`train_step` and `train_steps`: one compiled step for Flax models, or any pytree."""

from typing import Annotated, Any, NamedTuple, TypeAlias

import jax

from jopt.core import Kind, PyTree, checked, is_count, unpack
from jopt.training._devices import Placement
from jopt.training._donation import CompiledStep
from jopt.training._forms import LossFn, PureLoss, pure_loss
from jopt.training._frozen import joined
from jopt.training._gradients import (
    Weight,
    accumulated_gradients,
    batch_gradients,
    common_length,
    microbatches,
)
from jopt.training._state import TrainState
from jopt.training._update import Metrics, update_state

_Number: TypeAlias = Annotated[
    int, Kind("a whole number of at least 1", is_count, ValueError)
]


class PureStep(NamedTuple):
    """A step of training as a pure function, which is not compiled.

        state, metrics, finite = step(state, batch, key)

    `train_step` compiles it, and a sweep maps it over trials: there is one step.

    Args:
      loss_fn: as for `train_step`.
      accumulate, microbatch, weight: as for `train_step`.
      has_aux: as for `train_step`.
      skips: whether a run continues after a step whose loss or gradients are not
        finite; see `update_state`.
      placement: where the arrays of the step lie; None on one device.
    """

    loss_fn: LossFn
    accumulate: int = 1
    microbatch: int | None = None
    weight: Weight | None = None
    has_aux: bool = False
    skips: bool = True
    placement: Placement | None = None

    def __call__(
        self, state: TrainState, batch: PyTree, key: jax.Array
    ) -> tuple[TrainState, Metrics, jax.Array]:
        """Return the state, the metrics, and whether loss and gradients are finite."""
        loss, placement = self._loss(state), self.placement
        params = unpack(state.packed, true=state.step >= 0)
        if self.accumulate == 1 and self.microbatch is None and self.weight is None:
            held = params, state.model_state
            found = batch_gradients(loss, state.tx, *held, batch, key)
        else:
            parts = microbatches(
                batch, self.accumulate, self.microbatch, placement is not None
            )
            found = accumulated_gradients(
                loss, state, params, parts, key, self.weight, placement, self.has_aux
            )
        return update_state(state, found, placement, self.skips)

    def _loss(self, state: TrainState) -> PureLoss:
        """Return the loss function in the state's precision, times its scale."""
        precision, scale = state.precision, state.loss_scale
        pure = pure_loss(self.loss_fn, state.form, self.has_aux)

        def loss(
            params: PyTree, model_state: PyTree, batch: PyTree, key: jax.Array
        ) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
            params = joined(state.wrt, params, state.frozen)
            params, batch = precision.computed(params), precision.computed(batch)
            value, held = pure(params, model_state, batch, key)
            value = precision.answered(value)
            return value if scale is None else scale.scaled(value), held

        return loss


@checked
def train_step(
    loss_fn: LossFn,
    *,
    accumulate: _Number = 1,
    microbatch: _Number | None = None,
    weight: Weight | None = None,
    has_aux: bool = False,
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
        function returns with the loss; or a tree of parameters. The key is new at
        every step.
      accumulate: number of microbatches, at least 1. The batch is cut along the leading
        axis of its arrays, whose length must be a multiple of it.
      microbatch: number of examples in a microbatch, at least 1, in place of
        `accumulate`; the last microbatch may have fewer.
      weight: function of a microbatch that returns its weight in the mean, a scalar. By
        default the weight is the number of examples.
      has_aux: whether `loss_fn` returns metrics, a dict of scalars, with the loss:
        (loss, metrics), with linen's changed collections (loss, changed, metrics). They
        are `Metrics.aux`; of microbatches, their mean, weighed like the loss.
      shardings: what `state_sharding` returned, for a state on many devices. The
        devices divide the batch, sum the gradients, and each makes its part of the
        update. The results are those of one device, up to rounding. Examples are dealt
        out to the microbatches in turn, so that each microbatch has equally many
        examples from every device.
      axis: axis of the shardings' mesh that divides the batch.

    Returns:
      A function of (state, batch) that returns the `TrainState` after the step and its
      `Metrics`, scalars.

    Raises:
      ValueError: if `accumulate` or `microbatch` is below 1 or both are given, or if
        the mesh of the shardings has no such axis. The step raises it if `accumulate`
        does not divide the batch, or the devices cannot share it; if `shardings` are of
        another state; if the model state that the loss function returns has another
        structure; if the state was donated to an earlier step.
      TypeError: raised by the step if the loss is not a real scalar, or the weight not
        a number.
    """
    if accumulate > 1 and microbatch is not None:
        raise ValueError(
            "train_step: give accumulate, how many microbatches, or microbatch, their "
            f"size, not both; got {accumulate} and {microbatch}."
        )
    placement = None if shardings is None else Placement(shardings, axis)

    pure = PureStep(
        loss_fn, accumulate, microbatch, weight, has_aux, placement=placement
    )

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        new, metrics, _ = pure(state, batch, key)
        return new, metrics

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
