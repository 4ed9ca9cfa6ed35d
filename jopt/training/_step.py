"""`TrainState` and `train_step`: one compiled step for Flax models, or any pytree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jopt._core import (
    GradientTransformation,
    as_transformation,
)
from jopt._hyperparameters import hyperparameters
from jopt._leaves import (
    apply_updates,
    global_norm,
)
from jopt._numbers import (
    increment,
    wide,
)
from jopt._pytree import PyTree, pytree, static
from jopt.training._forms import Form, Loss, Plain, form_of, pure_loss


class Metrics(NamedTuple):
    """What a step saw; scalars, all on the device."""

    loss: jax.Array  # float32[], before the update
    grad_norm: jax.Array  # float32[], of all gradients together
    update_norm: jax.Array  # float32[], of all updates together
    hyperparameters: dict[str, Any]  # by name, as the update used them


@pytree
class TrainState:
    """All that changes in a training run, as data: jit, vmap and checkpoint it whole.

    Make it by `TrainState.create`. To change a hyperparameter on the way, put another
    transformation of the same structure in its place:

        dataclasses.replace(state, tx=jopt.replace(state.tx, learning_rate=1e-4))
    """

    step: jax.Array  # int32[], steps made
    params: PyTree
    model_state: PyTree  # what else the model holds: batch statistics, counters
    opt_state: PyTree
    key: jax.Array  # the run's; step t uses fold_in(key, t)
    tx: GradientTransformation
    form: Form = static(default=Plain())

    def __post_init__(self):
        # Numbers and arrays are two entries of jit's cache: arrays from the start.
        self.__dict__["tx"] = jax.tree.map(jnp.asarray, self.tx)

    @classmethod
    def create(cls, model: Any, tx: Any, key: Any = 0) -> "TrainState":
        """Return the state before the first step.

        model: an nnx module, linen's variables (`module.init(...)`), or any pytree of
        parameters. Arrays are copied: steps donate the state's own. tx: a gradient
        transformation, jopt's or optax's. key: a seed or a key, for the loss function's
        randomness.

        Raises a ValueError if there are no parameters, and a TypeError if one is
        neither float nor complex.
        """
        form = form_of(model)
        params, model_state = form.split(model)
        if not jax.tree.leaves(params):
            raise ValueError(
                f"TrainState: the model has no parameters, got {type(model).__name__} "
                "without a leaf; give an nnx module with nnx.Param, linen's variables "
                "with 'params', or a tree of arrays."
            )
        tx = as_transformation(tx)
        params, model_state = jax.tree.map(jnp.copy, (params, model_state))
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=model_state,
            opt_state=tx.init(params),
            key=jax.random.key(key) if isinstance(key, int) else jnp.copy(key),
            tx=tx,
            form=form,
        )

    @property
    def model(self) -> Any:
        """The model as it stands: an nnx module, linen's variables or the params."""
        return self.form.join(self.params, self.model_state)


def descend(
    loss: Loss,
    tx: GradientTransformation,
    params: PyTree,
    model_state: PyTree,
    opt_state: PyTree,
    batch: PyTree,
    key: Any,
) -> tuple[PyTree, PyTree, PyTree, jax.Array, PyTree, PyTree]:
    """Take one step of `tx` on `loss`, and compile nothing.

    Returns the new params, model state and optimizer state, the loss before the step,
    the gradients and the updates.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)
    (value, model_state), grads = differentiate(params, model_state, batch, key)
    updates, opt_state = tx.update(grads, opt_state, params, value=value)
    params = apply_updates(params, updates)
    return params, model_state, opt_state, value, grads, updates


def train_step(
    loss_fn: Callable[..., Any],
) -> Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]:
    """Return a compiled step: `state, metrics = step(state, batch)`.

    loss_fn: called with (model, batch, key), returns a scalar loss. The model is what
    `TrainState.create` was given: an nnx module, which it may change (its batch
    statistics), linen's variables, whose changed collections it returns beside the
    loss, or a tree of parameters. The key is new at every step.

    The state is donated: the one passed in is gone, its memory is the new one's. A new
    number in `state.tx` is no new program.
    """

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        numbers = hyperparameters(state.tx, state.opt_state)
        params, model_state, opt_state, value, grads, updates = descend(
            pure_loss(loss_fn, state.form),
            state.tx,
            state.params,
            state.model_state,
            state.opt_state,
            batch,
            jax.random.fold_in(state.key, state.step),
        )
        metrics = Metrics(
            wide(value), global_norm(grads), global_norm(updates), numbers
        )
        new = TrainState(
            step=increment(state.step),
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            key=state.key,
            tx=state.tx,
            form=state.form,
        )
        return new, metrics

    return jax.jit(step, donate_argnums=0)
