"""What `TrainState.create` is given: what it refuses."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import Key, PyTree, Transformation, check_argument, dtype_of, shown
from jopt.training._loss_scale import LossScale
from jopt.training._precision import Precision


def check_options(
    tx: Any, key: Any, buckets: Any, shards: Any, precision: Any, loss_scale: Any
) -> None:
    """Raise a ValueError or a TypeError that names the argument and the rule."""
    for name, value, kind in (("tx", tx, Transformation), ("key", key, Key)):
        check_argument("TrainState", name, value, kind)
    numbers = (bool, int, np.bool_, np.integer)
    for name, value, least in (("buckets", buckets, 0), ("shards", shards, 1)):
        if not isinstance(value, numbers) or not least <= value < 2**31:
            raise ValueError(
                f"TrainState: {name} must be a whole number of at least {least}, got "
                f"{shown(value)}."
            )
    kinds = ("precision", precision, Precision), ("loss_scale", loss_scale, LossScale)
    for name, value, kind in kinds:
        if value is not None and not isinstance(value, kind):
            raise TypeError(
                f"TrainState: {name} must be a jopt.{kind.__name__}, got {value!r}."
            )


def check_params(params: PyTree, model: Any) -> None:
    """Raise a ValueError if there are none, or a TypeError that names what is none."""
    found = tree_leaves_with_path(params)
    if not found:
        raise ValueError(
            f"TrainState: the model has no parameters, got {type(model).__name__} "
            "without a leaf; give an nnx module with nnx.Param, linen's variables with "
            "'params', or a tree of arrays."
        )
    for path, x in found:
        if isinstance(x, jax.ShapeDtypeStruct):
            raise TypeError(
                f"TrainState: params{keystr(path)} is a shape, {x}, and no array; for "
                "the state's shapes: jax.eval_shape(lambda: TrainState.create(...))."
            )
        known = isinstance(x, (float, complex)) or hasattr(x, "dtype")
        kind = dtype_of(x) if known else type(x).__name__
        if not known or not jnp.issubdtype(kind, jnp.inexact):
            raise TypeError(
                f"TrainState: params{keystr(path)} is {kind}, and only float and "
                "complex parameters have gradients; keep it out of the parameters: in "
                "the loss function, in another collection of linen's variables, or as "
                "an nnx.Variable that is no nnx.Param."
            )
