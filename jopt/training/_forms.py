"""Forms, which split a framework's model into parameters and the rest, and join it.

A form is a static value with

    split(model) -> (params, model_state)
    join(params, model_state) -> model, as the user's loss function takes it
    state_after(model, model_state, changed) -> model_state, after the loss function
    evaluated(model) -> model, in evaluation mode: without dropout
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import PyTree, checked, function_name, noted, shown

if TYPE_CHECKING:
    from flax import nnx

Model: TypeAlias = PyTree
"""An nnx module, linen's variables, or a tree of parameters."""

LossFn: TypeAlias = Callable[..., PyTree]
"""`loss_fn(model, batch, key) -> scalar`; with linen's variables (scalar, changed)."""

PureLoss: TypeAlias = Callable[
    [PyTree, PyTree, PyTree, jax.Array], tuple[jax.Array, tuple[PyTree, PyTree]]
]
"""`loss(params, model_state, batch, key) -> (scalar, (model_state, metrics))`."""

MODES = ("deterministic", "use_running_average")  # Flax's names, nnx's and linen's


class Plain(NamedTuple):
    """Any pytree of parameters; the model is the tree itself."""

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        return model, {}

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        return params

    def state_after(self, model: Model, model_state: PyTree, changed: PyTree) -> PyTree:
        return model_state

    def evaluated(self, model: Model) -> Model:
        return model


class Pair(NamedTuple):
    """A pair (params, model_state); the loss function returns (loss, model_state)."""

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        params, model_state = model
        return params, model_state

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        return params, model_state

    def state_after(self, model: Model, model_state: PyTree, changed: PyTree) -> PyTree:
        return changed

    def evaluated(self, model: Model) -> Model:
        return model


class Linen(NamedTuple):
    """Flax linen's variables: a dict with `params` and other collections.

    A loss function that changes collections returns them with the loss, as
    `module.apply(..., mutable=[...])` does. An argument of a module's call says whether
    it is trained or evaluated: the variables do not know it.
    """

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        rest = {name: tree for name, tree in model.items() if name != "params"}
        return model["params"], rest

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        return {"params": params, **model_state}

    def state_after(self, model: Model, model_state: PyTree, changed: PyTree) -> PyTree:
        return {**model_state, **(changed or {})}

    def evaluated(self, model: Model) -> Model:
        return model


class Nnx(NamedTuple):
    """A Flax nnx module, or a tree of them; changes by a loss function are kept.

    The modules are trained in the modes that they have when they are given: training,
    unless the user chose another. All are evaluated in `eval()` mode.
    """

    graphdef: "nnx.GraphDef[Model]"

    def split(self, model: Model) -> tuple[PyTree, PyTree]:
        from flax import nnx

        _, params, rest = nnx.split(model, nnx.Param, ...)
        return params, rest

    def join(self, params: PyTree, model_state: PyTree) -> Model:
        from flax import nnx

        # Copies: Variables of an outer trace refuse what the loss function changes.
        return nnx.merge(self.graphdef, params, model_state, copy=True)

    def state_after(self, model: Model, model_state: PyTree, changed: PyTree) -> PyTree:
        return self.split(model)[1]

    def evaluated(self, model: Model) -> Model:
        from flax import nnx

        # A dict or a list of modules has no method `eval`.
        for module in jax.tree.leaves(model, is_leaf=_is_end):
            if isinstance(module, nnx.Module):
                module.eval()
                for _, inner in nnx.iter_modules(module):
                    if isinstance(inner, nnx.bridge.ToNNX):
                        # nnx's `eval` does not look into it.
                        inner.to_nnx__module = _linen_evaluated(inner.to_nnx__module)
        return model


def _is_end(node: object) -> bool:
    """Return whether a node is a module or a Variable, which are not flattened."""
    from flax import nnx

    return isinstance(node, (nnx.Module, nnx.Variable))


def _linen_evaluated(node: Any) -> Any:
    """Return a linen module in evaluation mode, with the modules in its fields.

    A mode of None stays: the call decides. It also decides for modules that are created
    in the call.
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


Form: TypeAlias = Plain | Pair | Linen | Nnx


def form_of(model: Model) -> Form:
    """Return the form of an nnx module, of linen's variables, or of plain params."""
    # Flax need not be imported here: a program with a module has imported it.
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


def _has_modules(model: Model, nnx: ModuleType) -> bool:
    """Return whether a model is an nnx module, or a tree of them.

    Raises:
      TypeError: names a leaf next to the modules, which would not be trained, or a
        Variable without a module, which would be trained.
    """
    found = tree_leaves_with_path(model, is_leaf=_is_end)
    modules = any(isinstance(node, nnx.Module) for _, node in found)
    for path, node in found:
        if modules and not _is_end(node):
            raise TypeError(
                f"TrainState: model{keystr(path)} is next to nnx modules and is "
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
def pure_loss(loss_fn: LossFn, form: Form, has_aux: bool = False) -> PureLoss:
    """Return `loss_fn(model, batch, key)` as a function of params and model state.

    Args:
      loss_fn: the user's loss function.
      form: the form of its model, of `form_of`.
      has_aux: whether it returns metrics, last.

    Returns:
      A function of (params, model_state, batch, key) that returns the loss, a real
      scalar, with the new model state and the metrics, for
      `jax.value_and_grad(..., has_aux=True)`. It raises a TypeError if the loss or a
      metric is not a scalar.
    """

    def loss(
        params: PyTree, model_state: PyTree, batch: PyTree, key: jax.Array
    ) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        model = form.join(params, model_state)
        with noted(f"Raised by the loss function, {function_name(loss_fn)}."):
            returned = loss_fn(model, batch, key)
        returned, metrics = _without_metrics(returned) if has_aux else (returned, {})
        value, changed = _loss_and_changed(returned, form)
        _check_scalar(value, form)
        return value, (form.state_after(model, model_state, changed), metrics)

    return loss


def _without_metrics(returned: PyTree) -> tuple[PyTree, dict[str, jax.Array]]:
    """Split the result of a loss function into the rest and its metrics."""
    fits = isinstance(returned, tuple) and len(returned) in (2, 3)
    metrics = returned[-1] if fits else None
    if not isinstance(metrics, Mapping) or any(jnp.shape(x) for x in metrics.values()):
        raise TypeError(
            "With has_aux the loss function must return (loss, metrics), metrics a "
            f"dict of scalars by name, got {shown(returned)}."
        )
    rest = returned[0] if len(returned) == 2 else returned[:2]
    return rest, {name: jnp.asarray(value) for name, value in metrics.items()}


def _loss_and_changed(returned: PyTree, form: Form) -> tuple[PyTree, PyTree]:
    """Return the loss, and the changed part of the model's state or None."""
    pair = isinstance(returned, tuple) and len(returned) == 2
    if isinstance(form, Pair) and not pair:
        raise TypeError(
            "The loss function must return (loss, model_state), {} for a model without "
            f"a state, got {shown(returned)}."
        )
    if isinstance(form, (Linen, Pair)) and pair:
        return returned
    return returned, None


def _check_scalar(value: object, form: Form) -> None:
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    real = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    if isinstance(value, float) or (real and shape == ()):
        return
    beside = ", or that and the changed collections" if isinstance(form, Linen) else ""
    raise TypeError(
        f"The loss function must return a real scalar{beside}, got "
        f"{type(value).__name__ if shape is None else f'{dtype}{list(shape)}'}; take "
        "the mean over the batch."
    )
