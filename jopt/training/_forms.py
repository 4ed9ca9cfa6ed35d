"""How a model is split into parameters and the rest, and joined again, by framework.

A form is a static value with

    split(model) -> (params, model_state)
    join(params, model_state) -> model, as the user's loss function takes it
    state_after(model, model_state, changed) -> model_state
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path

from jopt._doors import checked
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
    """A Flax nnx module, or a tree of them; what a loss function changes is kept."""

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
    if nnx is not None and _has_modules(model, nnx):
        return Nnx(nnx.graphdef(model))
    # A chex dataclass is a Mapping, and a tree whatever the names of its fields are.
    if isinstance(model, Mapping) and "params" in model and not is_dataclass(model):
        return Linen()
    return Plain()


def _has_modules(model: Model, nnx: Any) -> bool:
    """Whether it is an nnx module, or a tree of them.

    Raises a TypeError where something else would be taken for a parameter, or not.
    """
    ends = (nnx.Module, nnx.Variable)
    found = tree_leaves_with_path(model, is_leaf=lambda node: isinstance(node, ends))
    modules = any(isinstance(node, nnx.Module) for _, node in found)
    for path, node in found:
        if modules and not isinstance(node, ends):
            raise TypeError(
                f"TrainState: model{keystr(path)} stands beside nnx modules and is "
                f"{type(node).__name__}; make it an nnx.Param if it is to be trained, "
                "or another nnx.Variable."
            )
        other = isinstance(node, nnx.Variable) and not isinstance(node, nnx.Param)
        if other and not modules:
            raise TypeError(
                f"TrainState: model{keystr(path)} is a {type(node).__name__}, and in a "
                "tree of parameters all are trained; give the module itself, or "
                "nnx.state(module, nnx.Param)."
            )
    return modules


@checked
def pure_loss(loss_fn: Callable[..., Any], form: Form) -> Loss:
    """Return `loss_fn(model, batch, key)` as a function of params and model state.

    The result is called with (params, model_state, batch, key) and returns the loss and
    the new model state, as `jax.value_and_grad(..., has_aux=True)` wants them. It
    raises a TypeError if the loss is no real scalar.
    """

    def loss(params: PyTree, model_state: PyTree, batch: PyTree, key: Any):
        model = form.join(params, model_state)
        value, changed = loss_fn(model, batch, key), None
        if isinstance(form, Linen) and isinstance(value, tuple) and len(value) == 2:
            value, changed = value
        _check_scalar(value, form)
        return value, form.state_after(model, model_state, changed)

    return loss


def _check_scalar(value: Any, form: Form) -> None:
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    real = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    if isinstance(value, float) or (real and shape == ()):
        return
    beside = ", or that and the changed collections" if isinstance(form, Linen) else ""
    raise TypeError(
        f"train_step: the loss function must return a real scalar{beside}, got "
        f"{type(value).__name__ if shape is None else f'{dtype}{list(shape)}'}; take "
        "the mean over the batch."
    )
