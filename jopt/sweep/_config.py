"""Configs: what a factory makes of a trial's hyperparameters, as trees of numbers."""

import dataclasses
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, GetAttrKey, KeyPath, keystr

from jopt.core import (
    GradientTransformation,
    PyTree,
    Transformation,
    as_transformation,
    is_transformation,
    pytree,
    shown,
)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """A value of a config that is part of the program, not a traced number."""

    value: Any

    def __post_init__(self):
        try:
            hash(self.value)
        except TypeError:
            raise TypeError(
                "A sweep's static values must be hashable, as its program depends on "
                f"them, got {shown(self.value)}; give a tuple, or a frozen dataclass."
            ) from None


@pytree
class Supervised:
    """A config for `Task.from_model` that chooses more than the transformation.

        def factory(learning_rate, gamma):
            return sweep.Supervised(jopt.adamw(learning_rate), loss=Focal(gamma))

    Args:
      tx: the transformation.
      loss: passed to the task's `loss_fn` as its fourth argument unless it is None: a
        pytree of numbers, such as a loss with its hyperparameters.
      augment: (batch, key) -> batch, before each step; a callable pytree of numbers, or
        a function.
      init_scale: numbers by path that multiply the initial parameters, in the form of
        `scale_leaves`, such as those that `scaling` returns.
    """

    tx: Transformation
    loss: Any = None
    augment: Any = None
    init_scale: PyTree = None


def as_config(made: Any, static: Collection[str] = ()) -> PyTree:
    """Return what a factory made as a tree whose leaves are numbers and arrays.

    Bools, strings, functions and other non-numbers become `Static`. Transformations of
    other libraries are wrapped.

    Args:
      made: any tree; its nodes may be transformations of any library.
      static: names of dict entries and fields whose numbers also become `Static`.

    Raises:
      TypeError: a static value is not hashable.
    """

    def leaf(path: KeyPath, value: Any) -> Any:
        if isinstance(value, GradientTransformation):
            return jax.tree_util.tree_map_with_path(named, value) if static else value
        if is_transformation(value):
            return as_transformation(value)
        return named(path, value) if is_number(value) else Static(value)

    def named(path: KeyPath, value: Any) -> Any:
        return Static(value) if path and name_of(path[-1]) in static else value

    def is_end(value: Any) -> bool:
        return isinstance(value, GradientTransformation) or is_transformation(value)

    return jax.tree_util.tree_map_with_path(leaf, made, is_leaf=is_end)


def plain(config: PyTree) -> PyTree:
    """Return a config with each `Static` replaced by its value."""
    return jax.tree.map(
        lambda leaf: leaf.value if isinstance(leaf, Static) else leaf,
        config,
        is_leaf=lambda leaf: isinstance(leaf, Static),
    )


def as_arrays(config: PyTree) -> PyTree:
    """Return a config whose numbers are arrays, in JAX's default dtypes."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), config)


def is_number(value: Any) -> bool:
    """Return whether a value is a leaf of a config: a number or array, no bool."""
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, float, complex, np.generic, np.ndarray, jax.Array))


def wrong_leaf(config: PyTree) -> str | None:
    """Return the path of a leaf that is not a number, in words; None if all are."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(config):
        if not (is_number(leaf) or hasattr(leaf, "dtype") or isinstance(leaf, bool)):
            return keystr(path) or "it"
    return None


def names_in(config: PyTree) -> set[str]:
    """Return the names of the dict entries and fields that hold a config's values."""
    is_end = lambda leaf: isinstance(leaf, Static)  # noqa: E731
    paths, _ = jax.tree_util.tree_flatten_with_path(config, is_leaf=is_end)
    return {name for path, _ in paths if path and (name := name_of(path[-1]))}


def name_of(key: Any) -> str | None:
    """Return the name of a dict entry or a field; None for other keys."""
    if isinstance(key, DictKey):
        return str(key.key)
    return key.name if isinstance(key, GetAttrKey) else None
