"""Transformations that run at some steps only."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    PyTree,
    Transformation,
    as_transformation,
    field,
    increment,
    map_leaves,
    pytree,
    static,
)
from jopt.wrappers._user_functions import as_data, called, decision
from jopt.wrappers._vmapped_cond import when

ConditionFn: TypeAlias = Callable[..., jax.Array | bool]


class ConditionallyTransformState(NamedTuple):
    """The state of the inner transformation, and the step."""

    inner_state: PyTree  # of the inner transformation
    step: jax.Array  # int32[], updates so far


class ConditionallyMaskState(NamedTuple):
    """The step, and the state of the inner transformation."""

    step: jax.Array  # int32[], updates so far
    inner_state: PyTree  # of the inner transformation


@pytree
class ConditionallyTransform(GradientTransformation):
    """Transform at the steps that a function chooses; pass updates unchanged at others.

        u, s <- inner(g, s)  if should_transform_fn(t), else g, s
        t = updates before this one

    `inner` runs at the chosen steps only; under `vmap` it runs if any trial chooses the
    step.

    Args:
      inner: a transformation.
      should_transform_fn: function of the int32 step that returns a bool scalar.
        Numbers that `functools.partial` gave it are leaves.
      forward_extra_args: whether the function gets the extra arguments of `update` as
        keywords. optax's combinators drop them: inside them, write `jopt.to_optax(tx)`.

    Raises:
      ValueError: if the function does not return a bool scalar.
    """

    inner: Transformation = field(converter=as_transformation)
    should_transform_fn: ConditionFn = field(converter=as_data)
    forward_extra_args: bool = static(default=False)

    shapeless = True

    def frozen(self, params):
        return [False] * len(jax.tree.leaves(params))  # some steps return the gradients

    def init(self, params):
        step = jnp.zeros((), jnp.int32)
        return ConditionallyTransformState(self.inner.init(params), step)

    def update(self, updates, state, params=None, **extra):
        _, updates, inner = _chosen(self, updates, state, params, extra)
        return updates, ConditionallyTransformState(inner, increment(state.step))


@pytree
class ConditionallyMask(GradientTransformation):
    """Transform at the steps that a function chooses; return zeros at others.

        u, s <- inner(g, s)  if should_transform_fn(t), else 0, s
        t = updates before this one

    `conditionally_transform` returns the updates unchanged where this returns zeros.

    Args:
      inner: as in `conditionally_transform`.
      should_transform_fn: as in `conditionally_transform`.
      forward_extra_args: as in `conditionally_transform`.

    Raises:
      ValueError: if the function does not return a bool scalar.
    """

    inner: Transformation = field(converter=as_transformation)
    should_transform_fn: ConditionFn = field(converter=as_data)
    forward_extra_args: bool = static(default=False)

    shapeless = True

    def init(self, params):
        step = jnp.zeros((), jnp.int32)
        return ConditionallyMaskState(step, self.inner.init(params))

    def update(self, updates, state, params=None, **extra):
        chosen, updates, inner = _chosen(self, updates, state, params, extra)
        updates = map_leaves(lambda u: jnp.where(chosen, u, 0), updates)
        return updates, ConditionallyMaskState(increment(state.step), inner)


conditionally_transform = ConditionallyTransform
conditionally_mask = ConditionallyMask


def _chosen(
    self: ConditionallyTransform | ConditionallyMask,
    updates: PyTree,
    state: ConditionallyTransformState | ConditionallyMaskState,
    params: PyTree,
    extra: dict[str, PyTree],
) -> tuple[jax.Array, PyTree, PyTree]:
    """Return whether the step is chosen, and the updates and inner state after it."""
    passed = extra if self.forward_extra_args else {}
    chosen = called(self.should_transform_fn, state.step, **passed)
    chosen = decision(chosen, self, "should_transform_fn")

    def transform(updates: PyTree, inner: PyTree) -> tuple[PyTree, PyTree]:
        return self.inner.update(updates, inner, params, **extra)

    keep = lambda *held: held  # noqa: E731
    return chosen, *when(chosen, transform, keep, updates, state.inner_state)
