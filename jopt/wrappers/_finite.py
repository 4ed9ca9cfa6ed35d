"""A guard against updates that are not finite."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Number,
    PyTree,
    Transformation,
    all_finite,
    as_transformation,
    check,
    checked,
    field,
    increment,
    map_leaves,
    pytree,
    wide,
)
from jopt.wrappers._vmapped_cond import when


class ApplyIfFiniteState(NamedTuple):
    """The counts of skipped updates, and the state of the inner transformation."""

    notfinite_count: jax.Array  # int32[], updates skipped in a row
    last_finite: jax.Array  # bool[], whether the last update was made
    total_notfinite: jax.Array  # int32[], updates skipped so far
    inner_state: PyTree  # of the inner transformation


@pytree
class ApplyIfFinite(GradientTransformation):
    """Skip updates that are not finite: return zeros, and keep the inner state.

    An update is skipped if the gradients, or the updates that `inner` makes of them,
    hold a NaN or an infinity. It is also skipped if a finite number of inner's state
    would become infinite or NaN (a gradient of 1e20 has no finite square in float32:
    Adam would stand still for ever). Skips are counted. An update that is not finite is
    never returned. optax checks the gradients only, and returns such an update after
    max_consecutive_errors, which ends the training.

    The last two checks need the old state until the update is known: twice its memory,
    and on a CPU several times AdamW's time. `train_step` has its own check, which costs
    one read of the gradients.

    Args:
      inner: a transformation.
      max_consecutive_errors: at least 0, skips in a row that are acceptable; `exceeded`
        tells whether there were more.
    """

    inner: Transformation = field(converter=as_transformation)
    max_consecutive_errors: Number

    shapeless = True

    def __post_init__(self):
        check(self, "max_consecutive_errors", least=0)

    def init(self, params):
        return ApplyIfFiniteState(
            notfinite_count=jnp.zeros((), jnp.int32),
            last_finite=jnp.array(True),
            total_notfinite=jnp.zeros((), jnp.int32),
            inner_state=self.inner.init(params),
        )

    def update(self, updates, state, params=None, **extra):
        def attempt(updates: PyTree, old: PyTree, _: jax.Array) -> PyTree:
            made, new = self.inner.update(updates, old, params, **extra)
            sound = all_finite(made) & all_finite(_spoiled(old, new))
            return made, _select(sound, new, old), sound

        clean = all_finite(updates)
        held = (updates, state.inner_state, clean)
        made, inner, sound = when(clean, attempt, lambda *held: held, *held)
        updates = map_leaves(lambda u: jnp.where(sound, u, 0), made)
        row, total = increment(state.notfinite_count), increment(state.total_notfinite)
        return updates, ApplyIfFiniteState(
            notfinite_count=jnp.where(sound, 0, row),
            last_finite=sound,
            total_notfinite=jnp.where(sound, state.total_notfinite, total),
            inner_state=inner,
        )

    @checked
    def exceeded(self, state: ApplyIfFiniteState) -> jax.Array:
        """Return whether more than `max_consecutive_errors` in a row were skipped.

        Args:
          state: state of this transformation.

        Returns:
          A bool scalar.
        """
        return wide(state.notfinite_count) > self.max_consecutive_errors


apply_if_finite = ApplyIfFinite


def _spoiled(old: PyTree, new: PyTree) -> PyTree:
    """Return the new numbers, with zeros where the old ones were not finite either."""

    def leaf(o: jax.Array, n: jax.Array) -> jax.Array:
        number = jnp.issubdtype(o.dtype, jnp.inexact)
        return jnp.where(jnp.isfinite(o), n, 0) if number else n

    return jax.tree.map(leaf, old, new)


def _select(flag: jax.Array, chosen: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jax.lax.select(flag, a, b), chosen, other)
