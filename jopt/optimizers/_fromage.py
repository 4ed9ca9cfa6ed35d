"""Fromage."""

import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    ScalarOrSchedule,
    as_schedule,
    chain,
    check,
    checked,
    field,
    increment,
    map_leaves,
    needed,
    pytree,
    value_at,
)
from jopt.transforms import ScaleByScheduleState, scale_by_trust_ratio


@pytree
class StepAndShrink(GradientTransformation):
    """Step, and divide by the factor by which an orthogonal step grows the norm.

        p + u = (p - r g) / sqrt(1 + r^2),  r = learning_rate(t)

    Args:
      learning_rate: at least 0, without unit where |g| = |p|; a number or a schedule of
        the updates made before this one.

    Raises:
      ValueError: `update` is called without `params`.

    Bernstein et al. 2020, https://arxiv.org/abs/2002.03432, Algorithm 1.
    """

    learning_rate: ScalarOrSchedule = field(converter=as_schedule)

    def __post_init__(self):
        check(self, "learning_rate", least=0)

    def init(self, params):
        return ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that shrink")
        rate = value_at(self.learning_rate, state.count)
        length = jnp.sqrt(1 + rate**2)
        # This is 1/length - 1 without cancellation, as learning rates are small.
        shrinkage = -(rate**2) / (length * (1 + length))
        made = map_leaves(
            lambda g, p: shrinkage * p - rate / length * g, updates, params
        )
        return made, ScaleByScheduleState(count=increment(state.count))


@checked
def fromage(learning_rate: ScalarOrSchedule, min_norm: Number = 1e-6) -> Chain:
    """Rotate each leaf of the parameters towards minus its gradient.

        p <- (p - learning_rate |p|' g / |g|') / sqrt(1 + learning_rate^2)
        |x|' = max(|x|, min_norm)

    Args:
      learning_rate: tangent of the angle by which a leaf turns, at least 0; a number or
        a schedule. 0.01 is the paper's.
      min_norm: least norm, at least 0, see `scale_by_trust_ratio`. It lets a leaf that
        starts at zero move.

    Bernstein et al. 2020, https://arxiv.org/abs/2002.03432, Algorithm 1.
    """
    return chain(scale_by_trust_ratio(min_norm), StepAndShrink(learning_rate))
