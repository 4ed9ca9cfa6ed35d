"""AdaBelief."""

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
    bias,
    chain,
    check,
    checked,
    debiased,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    root,
    static,
)
from jopt.transforms import scale_by_learning_rate


class ScaleByBeliefState(NamedTuple):
    """Running means of the gradients and of their squared distances from the mean."""

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params
    nu: PyTree  # like params, real


@pytree
class ScaleByBelief(GradientTransformation):
    """Divide the mean gradient by the root of the mean square distance from it.

        m <- b1 m + (1 - b1) g
        s <- b2 s + (1 - b2) |g - m|^2 + eps_root
        u = m' / (sqrt(s') + eps)
        m' = m / (1 - b1^t)               s' = s / (1 - b2^t)

    and with Nesterov's momentum

        m' = b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t)

    Steady gradients make s small and steps long: up to m / sqrt(eps_root / (1 - b2)).

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: share of s that a step keeps, in [0, 1).
      eps: added outside the root, at least 0, in units of the gradients.
      eps_root: added to s at every step, at least 0, in units of the gradients squared.
        The paper adds 1e-8 there and outside the root.
      nesterov: whether m' has Nesterov's momentum, as above.

    Zhuang et al. 2020, https://arxiv.org/abs/2010.07468, Algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-16
    eps_root: Number = 1e-16
    nesterov: bool = static(default=False, kw_only=True)

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", "eps_root", least=0)

    def init(self, params):
        return ScaleByBeliefState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params),
            nu=full_like(params, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        weight1, weight2 = bias(self.b1, count), bias(self.b2, count)
        ahead = bias(self.b1, increment(count)) if self.nesterov else None

        def rule(g, m, s):
            m = mix(m, g, self.b1)
            s = mix(s, abs_sq(g - m), self.b2) + self.eps_root
            mean = debiased(m, g, self.b1, weight1, ahead)
            return mean / (root(s / weight2) + self.eps), m, s

        updates, mu, nu = map_leaves(rule, updates, state.mu, state.nu)
        return updates, ScaleByBeliefState(count=count, mu=mu, nu=nu)


scale_by_belief = ScaleByBelief


@checked
def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-16,
    eps_root: Number = 1e-16,
    *,
    nesterov: bool = False,
) -> Chain:
    """Step along the mean gradient, the further the better it predicts the gradients.

        p <- p - learning_rate u,  u of `ScaleByBelief`

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps, eps_root, nesterov: see `ScaleByBelief`.

    Zhuang et al. 2020, https://arxiv.org/abs/2010.07468, Algorithm 2.
    """
    direction = scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov)
    return chain(direction, scale_by_learning_rate(learning_rate))
