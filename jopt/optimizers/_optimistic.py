"""Optimistic gradient descent, with the gradient and with Adam's direction."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    DType,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    chain,
    checked,
    full_like,
    map_leaves,
    pytree,
)
from jopt.optimizers._adam import scale_by_adam
from jopt.transforms import scale, scale_by_learning_rate


class ScaleByOptimisticGradientState(NamedTuple):
    """Gradient of the step before."""

    is_initial_step: jax.Array  # bool[], no gradient is stored yet
    previous_gradient: PyTree  # like params


@pytree
class ScaleByOptimisticGradient(GradientTransformation):
    """Add the last change of the gradient, as a forecast of the next.

        u = alpha g + beta (g - g'),  g' = the gradient before, at first g itself

    Without it, descent of one player and ascent of the other circle around the saddle
    of a game such as min max x y, and move away from it.

    Args:
      alpha: factor on the gradient.
      beta: factor on its change.

    Mokhtari et al. 2019, https://arxiv.org/abs/1901.08511.
    """

    alpha: Number = 1.0
    beta: Number = 1.0

    shapeless = True

    def init(self, params):
        return ScaleByOptimisticGradientState(
            is_initial_step=jnp.ones((), bool), previous_gradient=full_like(params)
        )

    def update(self, updates, state, params=None, **extra):
        first = state.is_initial_step

        def rule(g, before):
            change = jnp.where(first, 0, g - before)
            return self.alpha * g + self.beta * change, g

        updates, before = map_leaves(rule, updates, state.previous_gradient)
        return updates, ScaleByOptimisticGradientState(jnp.zeros((), bool), before)


scale_by_optimistic_gradient = ScaleByOptimisticGradient


@checked
def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: Number = 1.0, beta: Number = 1.0
) -> Chain:
    """Step along the negative gradient, and along its change.

        p <- p - learning_rate u,  u of `ScaleByOptimisticGradient`

    Args:
      learning_rate: step size, at least 0, in units of params squared per unit of loss;
        a number or a schedule.
      alpha, beta: see `ScaleByOptimisticGradient`.

    Mokhtari et al. 2019, https://arxiv.org/abs/1901.08511.
    """
    direction = scale_by_optimistic_gradient(alpha, beta)
    return chain(direction, scale_by_learning_rate(learning_rate))


@checked
def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule,
    *,
    alpha: Number = 1.0,
    beta: Number = 1.0,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    nesterov: bool = True,
) -> Chain:
    """Step along Adam's direction, and along its change.

        p <- p - learning_rate (alpha u + beta (u - u')),  u of `ScaleByAdam`

    where u' is the direction before.

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      alpha: factor on the direction.
      beta: factor on its change.
      b1, b2, eps, eps_root, mu_dtype: see `ScaleByAdam`.
      nesterov: see `ScaleByAdam`. The paper has none.

    Daskalakis et al. 2017, https://arxiv.org/abs/1711.00141, Algorithm 1.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )


@checked
def optimistic_adam(
    learning_rate: ScalarOrSchedule,
    optimism: Number | None = None,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
) -> Chain:
    """Step along Adam's direction and its change; deprecated, use `optimistic_adam_v2`.

        p <- p - learning_rate u - optimism (u - u'),  u of `ScaleByAdam`

    It takes no schedule, and optax is to remove it too. A call warns that it is
    deprecated.

    Args:
      learning_rate: a number, not a schedule.
      optimism: factor on the change of the direction; None is the learning rate.
      b1, b2, eps, eps_root, mu_dtype, nesterov: see `optimistic_adam_v2`.

    Raises:
      ValueError: the learning rate is a schedule.

    Daskalakis et al. 2017, https://arxiv.org/abs/1711.00141, Algorithm 1.
    """
    warnings.warn(
        "optimistic_adam is deprecated: use `optimistic_adam_v2` instead, with "
        "(1.0, alpha=learning_rate, beta=optimism).",
        DeprecationWarning,
        stacklevel=2,
    )
    if callable(learning_rate):
        raise ValueError(
            "optimistic_adam: learning_rate must be a number, got "
            f"{learning_rate!r}; optimistic_adam_v2 takes schedules."
        )
    change = learning_rate if optimism is None else optimism
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(learning_rate, change),
        scale(-1.0),
    )
