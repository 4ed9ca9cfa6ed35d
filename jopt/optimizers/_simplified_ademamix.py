"""AdEMAMix with one buffer for the gradients."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    as_schedule,
    bias,
    chain,
    check,
    checked,
    field,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    root,
    value_at,
)
from jopt.transforms import add_decayed_weights, scale_by_learning_rate


class ScaleBySimplifiedAdEMAMixState(NamedTuple):
    """Decaying sum of the gradients and mean of their squares."""

    t: jax.Array  # int32[], updates made
    m: PyTree  # like params
    n: PyTree  # like params, real


@pytree
class ScaleBySimplifiedAdemamix(GradientTransformation):
    """Replace Adam's mean by a decaying sum and a multiple of the new gradient.

        m <- b1 m + g        v <- b2 v + (1 - b2) |g|^2
        u = (m + alpha g) / (sqrt(v / (1 - b2^t) + eps_root) + eps)

    m is a sum: in the long run it is 1 / (1 - b1) times Adam's mean, so the learning
    rate is 1 - b1 times Adam's.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: share of v that a step keeps, in [0, 1).
      alpha: factor on the new gradient, at least 0; a number or a schedule of updates
        made.
      eps: added outside the root, at least 0, in units of the gradients.
      eps_root: added inside the root, at least 0, in units of the gradients squared.

    Morwani et al. 2025, https://arxiv.org/abs/2502.02431.
    """

    b1: Number = 0.99
    b2: Number = 0.95
    alpha: ScalarOrSchedule = field(converter=as_schedule, default=0.0)
    eps: Number = 1e-8
    eps_root: Number = 0.0

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "alpha", "eps", "eps_root", least=0)

    def init(self, params):
        zero = jnp.zeros((), jnp.int32)
        m, n = full_like(params), full_like(params, real=True)
        return ScaleBySimplifiedAdEMAMixState(t=zero, m=m, n=n)

    def update(self, updates, state, params=None, **extra):
        alpha = value_at(self.alpha, state.t)
        t = increment(state.t)
        weight = bias(self.b2, t)

        def rule(g, m, v):
            m, v = self.b1 * m + g, mix(v, abs_sq(g), self.b2)
            scale = root(v / weight + self.eps_root) + self.eps
            return (m + alpha * g) / scale, m, v

        updates, m, n = map_leaves(rule, updates, state.m, state.n)
        return updates, ScaleBySimplifiedAdEMAMixState(t=t, m=m, n=n)


scale_by_simplified_ademamix = ScaleBySimplifiedAdemamix


@checked
def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.99,
    b2: Number = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> Chain:
    """Step as AdEMAMix does, with one buffer for the gradients.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleBySimplifiedAdemamix`

    Args:
      learning_rate: step size, at least 0, in units of params, 1 - b1 times AdamW's; a
        number or a schedule.
      b1, b2, alpha, eps, eps_root: see `ScaleBySimplifiedAdemamix`.
      weight_decay, mask: see `adamw`.

    Morwani et al. 2025, https://arxiv.org/abs/2502.02431.
    """
    return chain(
        scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
