"""`Loss`, the base class of pointwise losses, and functions as losses."""

import functools
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core import (
    Kind,
    PyTree,
    argument_error,
    dtype_of,
    pytree,
    standard_promotion,
    static,
    wide,
    wide_numbers,
)


class Loss:
    """A loss of each example; subclasses are `pytree` classes.

    A loss is called with (logits, labels) and returns one value an example, without
    reduction. It computes and returns at least float32, whatever the dtypes of the
    logits and of its own numbers. A loss passes extra keyword arguments to the loss
    that it wraps, and ignores those that it does not use.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        call = cls.__call__

        @functools.wraps(call)
        def computed(self: Loss, logits: PyTree, labels: PyTree, **extra: Any) -> Any:
            logits = jax.tree.map(wide, logits)
            with standard_promotion():
                return call(wide_numbers(self), logits, labels, **extra)

        cls.__call__ = computed

    def __call__(self, logits: Any, labels: Any, **extra: Any) -> jax.Array:
        raise NotImplementedError


@pytree
class FunctionLoss(Loss):
    """A loss from a Python function, such as optax's losses; its numbers are constants.

    Args:
      function: (logits, labels, **extra) -> a value an example; static.
    """

    function: Callable[..., Any] = static()

    def __call__(self, logits, labels, **extra):
        return self.function(logits, labels, **extra)


def is_loss(value: object) -> bool:
    """Return whether `value` can be called with logits and labels."""
    return callable(value) and not isinstance(value, type)


Pointwise: TypeAlias = Annotated[
    Any, Kind("a loss of logits and labels", is_loss, hint="Give Focal(2.0), say.")
]


def as_loss(value: Any) -> Any:
    """Return a bare function as a loss, and pytrees unchanged."""
    return FunctionLoss(value) if jax.tree_util.all_leaves([value]) else value


def examples(
    objective: object, batch: PyTree, *, floats: bool = False
) -> tuple[PyTree, PyTree]:
    """Return the inputs and the labels of a batch.

    Args:
      objective: the objective named in errors.
      batch: (inputs, labels).
      floats: whether the inputs must be floats, because they are changed.
    """
    title = type(objective).__name__
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise argument_error(title, "batch", batch, "(inputs, labels)", TypeError)
    inputs, labels = batch
    for leaf in jax.tree.leaves(inputs) if floats else ():
        if not jnp.issubdtype(dtype_of(leaf), jnp.floating):
            rule = "floats, which can be changed a little"
            raise argument_error(title, "inputs", dtype_of(leaf), rule, TypeError)
    return inputs, labels
