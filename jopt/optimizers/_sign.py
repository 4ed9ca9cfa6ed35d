"""Steps by the sign of the gradient or of its running mean."""

import jax.numpy as jnp

from jopt.core import (
    Chain,
    DType,
    EmptyState,
    GradientTransformation,
    Number,
    ScalarOrSchedule,
    chain,
    checked,
    map_leaves,
    pytree,
)
from jopt.transforms import ema, scale_by_learning_rate


@pytree
class ScaleBySign(GradientTransformation):
    """Keep only the sign of each coordinate.

        u = sign(g),  g / |g| of a complex coordinate

    Bernstein et al. 2018, https://arxiv.org/abs/1802.04434, Algorithm 1.
    """

    shapeless = True

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        return map_leaves(jnp.sign, updates), state


scale_by_sign = ScaleBySign


@checked
def sign_sgd(learning_rate: ScalarOrSchedule) -> Chain:
    """Step by the sign of the gradient.

        p <- p - learning_rate sign(g)

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.

    Bernstein et al. 2018, https://arxiv.org/abs/1802.04434, Algorithm 1.
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


@checked
def signum(
    learning_rate: ScalarOrSchedule, beta: Number = 0.9, accumulator_dtype: DType = None
) -> Chain:
    """Step by the sign of the mean gradient.

        m <- beta m + (1 - beta) g        p <- p - learning_rate sign(m)

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      beta: share of m that a step keeps, in [0, 1).
      accumulator_dtype: dtype of m. None is the params' dtype, but at least float32.

    Bernstein et al. 2018, https://arxiv.org/abs/1802.04434, Algorithm 2.
    """
    return chain(
        ema(beta, debias=False, accumulator_dtype=accumulator_dtype),
        scale_by_sign(),
        scale_by_learning_rate(learning_rate),
    )
