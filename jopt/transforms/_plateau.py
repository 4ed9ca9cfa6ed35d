"""A scale that falls when the loss stops falling: reduce_on_plateau."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Number,
    check,
    global_norm,
    increment,
    map_leaves,
    needed_loss,
    pytree,
    wide,
)


class ReduceLROnPlateauState(NamedTuple):
    """The scale, and how long the value has not improved."""

    scale: jax.Array  # float32[] at least
    best_value: jax.Array  # float32[] at least
    plateau_count: jax.Array  # int32[], means since the best
    cooldown_count: jax.Array  # int32[], means still to wait
    count: jax.Array  # int32[], values in the mean
    avg_value: jax.Array  # float32[] at least, their mean


@pytree
class ReduceOnPlateau(GradientTransformation):
    """Shrink the updates when a value has stopped falling.

        u = scale g
        scale <- max(factor scale, min_scale)  after `patience` means without a new best
        a mean is a new best where it is below best - rtol |best| - atol

        tx = jopt.chain(jopt.adam(1e-3), jopt.reduce_on_plateau(patience=5))
        updates, state = tx.update(grads, state, params, value=loss)

    `update` needs the value, a scalar, as `value`. optax's combinators drop it: inside
    them, write `jopt.to_optax(tx)`.

    The rule is PyTorch's `ReduceLROnPlateau`. optax and PyTorch multiply rtol by the
    best value itself, not by its modulus: where the best is below zero an equal value
    counts as better there, and the scale never shrinks. Unlike in optax, rtol and atol
    may both be 0.

    Each argument is a number that can be swept; a fractional count acts as the next
    whole number.

    Args:
      factor: factor of the scale, in (0, 1).
      patience: means without a new best before the scale shrinks, at least 0.
      rtol: least relative improvement, in [0, 1].
      atol: least absolute improvement, at least 0, in units of the value.
      cooldown: means that are ignored after the scale has shrunk, at least 0.
      accumulation_size: values in a mean, at least 1; 1 for a validation loss, more for
        the loss of minibatches.
      min_scale: least scale, at least 0.

    Raises:
      ValueError: if `update` is given no `value`, or one that is not a scalar.
    """

    factor: Number = 0.1
    patience: Number = 10
    rtol: Number = 1e-4
    atol: Number = 0.0
    cooldown: Number = 0
    accumulation_size: Number = 1
    min_scale: Number = 0.0

    shapeless = True

    def __post_init__(self):
        check(self, "factor", above=0, below=1)
        check(self, "patience", least=0)
        check(self, "rtol", least=0, most=1)
        check(self, "atol", "cooldown", least=0)
        check(self, "accumulation_size", least=1)
        check(self, "min_scale", least=0)

    def init(self, params):
        size = global_norm(params)
        return ReduceLROnPlateauState(
            scale=jnp.ones_like(size),
            best_value=jnp.full_like(size, jnp.inf),
            plateau_count=jnp.zeros((), jnp.int32),
            cooldown_count=jnp.zeros((), jnp.int32),
            count=jnp.zeros((), jnp.int32),
            avg_value=jnp.zeros_like(size),
        )

    def update(self, updates, state, params=None, *, value=None, **extra):
        value = wide(needed_loss(value, self, "the value that should fall"))
        count = increment(state.count)
        mean = (wide(state.count) * state.avg_value + value) / wide(count)
        mean = mean.astype(state.avg_value.dtype)
        state = state._replace(count=count, avg_value=mean)

        full = wide(count) >= self.accumulation_size
        state = jax.tree.map(
            lambda new, old: jnp.where(full, new, old).astype(old.dtype),
            self._after(state),
            state,
        )
        return map_leaves(lambda g: state.scale * g, updates), state

    def _after(self, state: ReduceLROnPlateauState) -> ReduceLROnPlateauState:
        """Return the state after a complete mean."""
        margin = self.rtol * jnp.abs(state.best_value) + self.atol
        first = jnp.isinf(state.best_value)
        better = state.avg_value < state.best_value - jnp.where(first, 0, margin)
        waited = jnp.where(better, 0, increment(state.plateau_count))

        resting = state.cooldown_count > 0
        shrink = ~better & (wide(waited) >= self.patience) & ~resting
        scale = jnp.where(shrink, self.factor * state.scale, state.scale)
        rest = jnp.where(shrink, jnp.ceil(self.cooldown).astype(jnp.int32), 0)
        return ReduceLROnPlateauState(
            scale=jnp.where(resting, scale, jnp.maximum(scale, self.min_scale)),
            best_value=jnp.where(better, state.avg_value, state.best_value),
            plateau_count=jnp.where(shrink | resting, 0, waited),
            cooldown_count=jnp.where(resting, state.cooldown_count - 1, rest),
            count=jnp.zeros_like(state.count),
            avg_value=jnp.zeros_like(state.avg_value),
        )


reduce_on_plateau = ReduceOnPlateau
