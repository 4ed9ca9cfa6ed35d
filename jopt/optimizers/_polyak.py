"""Gradient descent with Polyak's step size."""

from typing import Literal

import jax.numpy as jnp

from jopt.core import (
    Chain,
    EmptyState,
    GradientTransformation,
    Number,
    ScalarOrSchedule,
    chain,
    check,
    checked,
    global_norm,
    map_leaves,
    needed_loss,
    pytree,
    static,
    wide,
)
from jopt.transforms import scale_by_learning_rate


@pytree
class ScaleByPolyak(GradientTransformation):
    """Multiply by the step that would reach the least loss if the loss were linear.

        u = g min((value - f_min) / (|g|^2 + eps), max_learning_rate)

    `update` needs `value=`, the loss at the params. optax's combinators drop it: inside
    them, write `jopt.to_optax(tx)`. Where |g|^2 + eps is below 2e-16 the step is 0. The
    step size needs a lower bound of the loss; models that can fit their data have 0.

    Args:
      f_min: least value of the loss, in its units.
      max_learning_rate: greatest step size, at least 0, in units of params squared per
        unit of loss.
      eps: added to the squared norm, at least 0, in units of the gradients squared.
      variant: "sps+" takes a loss below f_min as f_min; with "sps" the step is then
        uphill.

    Raises:
      ValueError: `update` is called without `value`.

    Loizou et al. 2020, https://arxiv.org/abs/2002.10542; "sps+": Garrigos et al. 2023,
    https://arxiv.org/abs/2307.14528.
    """

    f_min: Number = 0.0
    max_learning_rate: Number = 1.0
    eps: Number = 0.0
    variant: Literal["sps", "sps+"] = static(default="sps")

    shapeless = True

    def __post_init__(self):
        check(self, "max_learning_rate", "eps", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, *, value=None, **extra):
        value = needed_loss(value, self, "the loss")
        gap = wide(value) - self.f_min
        if self.variant == "sps+":
            gap = jnp.maximum(gap, 0)
        squares = global_norm(updates) ** 2 + self.eps
        flat = squares <= jnp.finfo(jnp.float64).eps
        step = jnp.minimum(gap / jnp.where(flat, 1, squares), self.max_learning_rate)
        step = jnp.where(flat, 0, step)
        return map_leaves(lambda g: step * g, updates), state


scale_by_polyak = ScaleByPolyak


@checked
def polyak_sgd(
    max_learning_rate: Number = 1.0,
    scaling: ScalarOrSchedule = 1.0,
    f_min: Number = 0.0,
    eps: Number = 0.0,
    variant: Literal["sps", "sps+"] = "sps",
) -> Chain:
    """Step along the negative gradient, with Polyak's step size.

        p <- p - scaling g min((value - f_min) / (|g|^2 + eps), max_learning_rate)

        updates, state = tx.update(grads, state, params, value=loss)

    `update` needs `value=`, see `ScaleByPolyak`. optax puts the scaling before the step
    size, whose norm it changes: there 0.5 gives steps that are twice as long, rather
    than half.

    Args:
      max_learning_rate, f_min, eps, variant: see `ScaleByPolyak`.
      scaling: factor on the step, at least 0; a number or a schedule.

    Loizou et al. 2020, https://arxiv.org/abs/2002.10542.
    """
    return chain(
        scale_by_polyak(f_min, max_learning_rate, eps, variant),
        scale_by_learning_rate(scaling),
    )
