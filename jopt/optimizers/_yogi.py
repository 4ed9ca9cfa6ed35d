"""Yogi."""

import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    ScalarOrSchedule,
    abs_sq,
    bias,
    chain,
    check,
    checked,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    root,
)
from jopt.optimizers._adam import ScaleByAdamState
from jopt.transforms import scale_by_learning_rate


@pytree
class ScaleByYogi(GradientTransformation):
    """Run Adam with a second moment that moves by no more than the new square.

        m <- b1 m + (1 - b1) g
        v <- v - (1 - b2) sign(v - |g|^2) |g|^2
        u = m' / (sqrt(v' + eps_root) + eps)
        m' = m / (1 - b1^t)               v' = v / (1 - b2^t)

    The start of v counts as much as 1 / (1 - b2) squares, and that of m gives a
    coordinate without gradients a first small step.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: v moves by 1 - b2 of the new square, in [0, 1).
      eps: added outside the root, at least 0, in units of the gradients.
      eps_root: added inside the root, at least 0, in units of the gradients squared.
      initial_accumulator_value: start of m and of v, above 0.

    Zaheer et al. 2018, https://proceedings.neurips.cc/paper/2018/hash/
    90365351ccc7437a1309dc64e4db32a3-Abstract.html, Algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-3
    eps_root: Number = 0.0
    initial_accumulator_value: Number = 1e-6

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", "eps_root", least=0)
        check(self, "initial_accumulator_value", above=0)

    def init(self, params):
        start = self.initial_accumulator_value
        return ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params, start),
            nu=full_like(params, start, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        weight1, weight2 = bias(self.b1, count), bias(self.b2, count)

        def rule(g, m, v):
            square = abs_sq(g)
            m = mix(m, g, self.b1)
            v = v - (1 - self.b2) * jnp.sign(v - square) * square
            return m / weight1 / (root(v / weight2 + self.eps_root) + self.eps), m, v

        updates, mu, nu = map_leaves(rule, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count=count, mu=mu, nu=nu)


scale_by_yogi = ScaleByYogi


@checked
def yogi(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-3,
) -> Chain:
    """Step along the mean gradient, divided by the root of a slow mean square.

        p <- p - learning_rate u,  u of `ScaleByYogi`

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps: see `ScaleByYogi`.

    Zaheer et al. 2018, https://proceedings.neurips.cc/paper/2018/hash/
    90365351ccc7437a1309dc64e4db32a3-Abstract.html, Algorithm 2.
    """
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))
