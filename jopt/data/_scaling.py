"""Scale inputs by statistics of the training examples."""

from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree, argument_error, checked, dtype_of, pytree, wide

Axis: TypeAlias = int | tuple[int, ...] | None


@pytree
class Scaling:
    """Scale the inputs of a batch.

        x <- (x - shift) / scale

    Args:
      shift, scale: numbers that broadcast with an example.

    Call it with
      batch: inputs, or a tuple (inputs, labels, ...) whose first element is scaled.
        Inputs of other types become floats; floats keep their dtype.
    """

    shift: Any
    scale: Any

    def __call__(self, batch: PyTree) -> PyTree:
        if isinstance(batch, (tuple, list)):
            inputs, *rest = batch
            return self(inputs), *rest
        x = wide(batch)
        missing = (1,) * (x.ndim - self.shift.ndim)
        shift, scale = (
            n.reshape(missing + n.shape).astype(x.dtype)
            for n in (self.shift, self.scale)
        )
        scaled = (x - shift) / scale
        kept = jnp.issubdtype(dtype_of(batch), jnp.inexact)
        return scaled.astype(dtype_of(batch)) if kept else scaled


@checked
def standardize(examples: PyTree, axis: Axis = 0) -> Scaling:
    """Return the scaling to mean 0 and variance 1 of the training examples.

        shift = mean(x),   scale = std(x), or 1 where that is 0

        scaling = data.standardize(train)
        batch = scaling(batch)
        Task.from_model(..., scaling=data.standardize)  # in a sweep, by fold

    Args:
      examples: inputs, or a tuple (inputs, labels, ...), only of the training part.
      axis: the axes over which the statistics are taken: 0 for each feature separately,
        None for two scalars, (0, 1, 2) for each channel separately.

    Raises:
      ValueError: there are no inputs, they are not finite, or they have no such axis.
    """
    x = _inputs("standardize", examples)
    axes = _axes("standardize", axis, x.ndim)
    return _scaling(x.mean(axes), x.std(axes))


@checked
def normalize(examples: PyTree, axis: Axis = 0) -> Scaling:
    """Return the scaling of the training examples to [0, 1].

        shift = min(x),   scale = max(x) - min(x), or 1 where that is 0

    Other examples may be mapped below 0 or above 1.

    Args:
      examples, axis: as in `standardize`.

    Raises:
      ValueError: there are no inputs, they are not finite, or they have no such axis.
    """
    x = _inputs("normalize", examples)
    axes = _axes("normalize", axis, x.ndim)
    return _scaling(x.min(axes), np.ptp(x, axes))


def _inputs(title: str, examples: PyTree) -> np.ndarray:
    """Return the inputs in float64."""
    given: Any = examples
    if isinstance(examples, (tuple, list)) and len(examples) > 0:
        given = examples[0]
    if not hasattr(given, "shape") or not given.shape or not given.size:
        rule = "an array of inputs, or a tuple that begins with one, the example first"
        raise argument_error(title, "examples", given, rule, ValueError)
    x = np.asarray(given, np.float64)
    if not np.isfinite(x).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(x))[0]]
        raise ValueError(
            f"{title}: examples must be finite, got {x[tuple(place)]} at {place}; fill "
            "what is missing, or leave the example out."
        )
    return x


def _axes(title: str, axis: Axis, most: int) -> tuple[int, ...]:
    """Return the axes over which the statistics of inputs of `most` axes go."""
    if axis is None:
        return tuple(range(most))
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if not axes or not all(-most <= each < most for each in axes):
        rule = f"None or among the {most} axes of the inputs"
        raise argument_error(title, "axis", axis, rule, ValueError)
    return axes


def _scaling(shift: np.ndarray, scale: np.ndarray) -> Scaling:
    scale = np.where(scale > 0, scale, 1.0)
    return Scaling(np.asarray(shift, np.float32), np.asarray(scale, np.float32))
