"""How a model is split into parameters and the rest, and joined again, by framework.

A form is a static value with

    split(model) -> (params, model_state)
    join(params, model_state) -> model, as the user's loss function takes it
    state_after(model, model_state, changed) -> model_state
    evaluated(model) -> model, as it is evaluated: without dropout
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import PyTree, checked, function_name, noted

Model: TypeAlias = Any
Loss: TypeAlias = Callable[[PyTree, PyTree, PyTree, Any], tuple[Any, PyTree]]

MODES = ("deterministic", "use_running_average")  # Flax's names, nnx's and linen's


class Plain(NamedTuple):
    """Any pytree of parameters; the model is the tree itself."""

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        return model, {}

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        return params

    def state_after(self, model: Model, model_state: PyTree, changed: Any) -> PyTree:
        return model_state

    def evaluated(self, model: Model) -> Model:
        return model


class Linen(NamedTuple):
    """Flax linen's variables: a dict with `params` and other collections.

    A loss function that changes collections returns them beside the loss, as
    `module.apply(..., mutable=[...])` does. Whether a module is trained or evaluated is
    an argument of its call: the variables do not know it.
    """

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        rest = {name: tree for name, tree in model.items() if name != "params"}
        return model["params"], rest

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        return {"params": params, **model_state}

    def state_after(self, model: Model, model_state: PyTree, changed: Any) -> PyTree:
        return {**model_state, **(changed or {})}

    def evaluated(self, model: Model) -> Model:
        return model


class Nnx(NamedTuple):
    """A Flax nnx module, or a tree of them; what a loss function changes is kept.

    The modules are trained in the modes that they are given in, training unless the
    user chose another, and all are evaluated in `eval()` mode.
    """

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

    def evaluated(self, model: Model) -> Model:
        from flax import nnx

        # A dict or a list of modules has no `eval` of its own.
        for module in jax.tree.leaves(model, is_leaf=_is_end):
            if isinstance(module, nnx.Module):
                module.eval()
                for _, inner in nnx.iter_modules(module):
                    if isinstance(inner, nnx.bridge.ToNNX):
                        # nnx's `eval` does not look into it.
                        inner.to_nnx__module = _linen_evaluated(inner.to_nnx__module)
        return model


def _is_end(node: Any) -> bool:
    from flax import nnx

    return isinstance(node, (nnx.Module, nnx.Variable))


def _linen_evaluated(node: Any) -> Any:
    """Return a linen module whose modes are on; None, for "as the call says", stays.

    Modules among its fields are evaluated too. What it makes in its call is as the
    call says.
    """
    from flax import linen

    if isinstance(node, (list, tuple)) and not hasattr(node, "_fields"):
        return type(node)(map(_linen_evaluated, node))
    if isinstance(node, Mapping):
        return {name: _linen_evaluated(value) for name, value in node.items()}
    if not isinstance(node, linen.Module):
        return node
    own = [f.name for f in fields(node) if f.init and f.name not in ("parent", "name")]
    held = {name: getattr(node, name) for name in own}
    changed: dict[str, Any] = {
        name: True if name in MODES and value is False else _linen_evaluated(value)
        for name, value in held.items()
    }
    return node.clone(**changed)


Form: TypeAlias = Plain | Linen | Nnx


def form_of(model: Model) -> Form:
    """Return the form of an nnx module, of linen's variables, or of plain params."""
    # Flax need not be loaded to tell: whoever has a module has loaded it.
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and _has_modules(model, nnx):
        return Nnx(nnx.graphdef(model))
    for path, leaf in tree_leaves_with_path(model):
        if is_dataclass(leaf):
            raise TypeError(
                f"TrainState: model{keystr(path)} is {type(leaf).__name__}, a "
                "dataclass that JAX takes for one value; decorate it with "
                "jax.tree_util.register_dataclass."
            )
    # A chex dataclass is a Mapping, and a tree whatever the names of its fields are.
    if isinstance(model, Mapping) and "params" in model and not is_dataclass(model):
        return Linen()
    return Plain()


def _has_modules(model: Model, nnx: Any) -> bool:
    """Whether it is an nnx module, or a tree of them.

    Raises a TypeError where something else would be taken for a parameter, or not.
    """
    found = tree_leaves_with_path(model, is_leaf=_is_end)
    modules = any(isinstance(node, nnx.Module) for _, node in found)
    for path, node in found:
        if modules and not _is_end(node):
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
        with noted(f"Raised by the loss function, {function_name(loss_fn)}."):
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
