"""Transformations that run at some steps only."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

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

ConditionFn: TypeAlias = Callable[..., Any]


class ConditionallyTransformState(NamedTuple):
    """The state of the transformation inside, and the step."""

    inner_state: PyTree
    step: jax.Array  # int32[], updates so far


class ConditionallyMaskState(NamedTuple):
    """The step, and the state of the transformation inside."""

    step: jax.Array  # int32[], updates so far
    inner_state: PyTree


@pytree
class ConditionallyTransform(GradientTransformation):
    """Transform at the steps that a function chooses, pass updates on at the others.

        u, s <- inner(g, s)  if should_transform_fn(t), else g, s
        t = updates before this one

    inner: a transformation. should_transform_fn: a function of the int32 step that
    returns a bool scalar; with forward_extra_args it gets the extra arguments of
    `update` too, as keywords; optax's combinators drop them: inside them, write
    `jopt.to_optax(tx)`. Numbers that `functools.partial` gave it are leaves.

    `inner` runs at the chosen steps alone; under `vmap` when any of the block chooses.
    """

    inner: Transformation = field(converter=as_transformation)
    should_transform_fn: ConditionFn = field(converter=as_data)
    forward_extra_args: bool = static(default=False)

    shapeless = True

    def frozen(self, params):
        return [False] * len(jax.tree.leaves(params))  # some steps pass them on

    def init(self, params):
        step = jnp.zeros((), jnp.int32)
        return ConditionallyTransformState(self.inner.init(params), step)

    def update(self, updates, state, params=None, **extra):
        _, updates, inner = _chosen(self, updates, state, params, extra)
        return updates, ConditionallyTransformState(inner, increment(state.step))

    def parts(self, state):
        return {"inner": (self.inner, state.inner_state)}


@pytree
class ConditionallyMask(GradientTransformation):
    """Transform at the steps that a function chooses, make zeros at the others.

        u, s <- inner(g, s)  if should_transform_fn(t), else 0, s
        t = updates before this one

    Arguments are those of `conditionally_transform`, which passes the updates on where
    this makes zeros.
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

    def parts(self, state):
        return {"inner": (self.inner, state.inner_state)}


conditionally_transform = ConditionallyTransform
conditionally_mask = ConditionallyMask


def _chosen(
    self: ConditionallyTransform | ConditionallyMask,
    updates: PyTree,
    state: Any,
    params: PyTree,
    extra: dict[str, Any],
) -> tuple[jax.Array, PyTree, PyTree]:
    """Whether the step is chosen, and updates and inner state after it."""
    passed = extra if self.forward_extra_args else {}
    chosen = called(self.should_transform_fn, state.step, **passed)
    chosen = decision(chosen, self, "should_transform_fn")

    def transform(updates: PyTree, inner: PyTree) -> tuple[PyTree, PyTree]:
        return self.inner.update(updates, inner, params, **extra)

    keep = lambda *held: held  # noqa: E731
    return chosen, *when(chosen, transform, keep, updates, state.inner_state)
