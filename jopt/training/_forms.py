"""How a model is split into parameters and the rest, and joined again, by framework.

A form is a static value with

    split(model) -> (params, model_state)
    join(params, model_state) -> model, as the user's loss function takes it
    state_after(model, model_state, changed) -> model_state
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from jopt._pytree import PyTree

Model: TypeAlias = Any
Loss: TypeAlias = Callable[[PyTree, PyTree, PyTree, Any], tuple[Any, PyTree]]


class Plain(NamedTuple):
    """Any pytree of parameters; the model is the tree itself."""

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        return model, {}

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        return params

    def state_after(self, model: Model, model_state: PyTree, changed: Any) -> PyTree:
        return model_state


class Linen(NamedTuple):
    """Flax linen's variables: a dict with `params` and other collections.

    A loss function that changes collections returns them beside the loss, as
    `module.apply(..., mutable=[...])` does.
    """

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        rest = {name: tree for name, tree in model.items() if name != "params"}
        return model["params"], rest

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        return {"params": params, **model_state}

    def state_after(self, model: Model, model_state: PyTree, changed: Any) -> PyTree:
        return {**model_state, **(changed or {})}


class Nnx(NamedTuple):
    """A Flax nnx module; what a loss function changes in it is kept."""

    graphdef: Any

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        from flax import nnx

        _, params, rest = nnx.split(model, nnx.Param, ...)
        return params, rest

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        from flax import nnx

        # Copies: Variables of an outer trace refuse what the loss function changes.
        return nnx.merge(self.graphdef, params, model_state, copy=True)

    def state_after(self, model: Model, model_state: PyTree, changed: Any) -> PyTree:
        return self.split(model)[1]


Form: TypeAlias = Plain | Linen | Nnx


def form_of(model: Model) -> Form:
    """Return the form of an nnx module, of linen's variables, or of plain params."""
    # Flax need not be loaded to tell: whoever has a module has loaded it.
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(model, nnx.Module):
        return Nnx(nnx.graphdef(model))
    if isinstance(model, Mapping) and "params" in model:
        return Linen()
    return Plain()


def pure_loss(loss_fn: Callable[..., Any], form: Form) -> Loss:
    """Return `loss_fn(model, batch, key)` as a function of params and model state.

    The result is called with (params, model_state, batch, key) and returns the loss and
    the new model state, as `jax.value_and_grad(..., has_aux=True)` wants them.
    """

    def loss(params: PyTree, model_state: PyTree, batch: PyTree, key: Any):
        model = form.join(params, model_state)
        value = loss_fn(model, batch, key)
        value, changed = value if isinstance(value, tuple) else (value, None)
        return value, form.state_after(model, model_state, changed)

    return loss
