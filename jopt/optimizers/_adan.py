"""Adan."""

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
from jopt.optimizers._decoupled_decay import Decay, rate_and_decay


class ScaleByAdanState(NamedTuple):
    """Running means of gradients, their changes and squares, and the last gradients."""

    m: PyTree  # like params
    v: PyTree  # like params
    n: PyTree  # like params, real
    g: PyTree  # like params
    t: jax.Array  # int32[], updates made


@pytree
class ScaleByAdan(GradientTransformation):
    """Add to the mean gradient the mean of its changes: Nesterov's look ahead.

        d = g - (the last g), 0 at the first step
        m <- b1 m + (1 - b1) g            v <- b2 v + (1 - b2) d
        n <- b3 n + (1 - b3) |g + b2 d|^2
        u = (m' + b2 v') / (sqrt(n' + eps_root) + eps)
        m', v', n' = m, v, n over 1 - b1^t, 1 - b2^t, 1 - b3^t

    The factor of d and of v' is b2, as in the paper and in its authors' code. optax
    0.2.8 has 1 - b2 there, 0.08 where the paper has 0.92
    (https://github.com/google-deepmind/optax/pull/1715); `lift(optax.adan)` gives that.

    Args:
      b1: share of m that a step keeps, in [0, 1). The paper's betas are 1 minus these.
      b2: share of v that a step keeps, in [0, 1).
      b3: share of n that a step keeps, in [0, 1).
      eps: added outside the root, at least 0, in units of the gradients.
      eps_root: added inside the root, at least 0, in units of the gradients squared.

    Xie et al. 2022, https://arxiv.org/abs/2208.06677, Algorithm 1.
    """

    b1: Number = 0.98
    b2: Number = 0.92
    b3: Number = 0.99
    eps: Number = 1e-8
    eps_root: Number = 0.0

    shapeless = True

    def __post_init__(self):
        for name in ("b1", "b2", "b3"):
            check(self, name, least=0, below=1)
        check(self, "eps", "eps_root", least=0)

    def init(self, params):
        zeros = full_like(params)
        return ScaleByAdanState(
            m=zeros,
            v=zeros,
            n=full_like(params, real=True),
            g=zeros,
            t=jnp.zeros((), jnp.int32),
        )

    def update(self, updates, state, params=None, **extra):
        t = increment(state.t)
        weight1, weight2, weight3 = (bias(b, t) for b in (self.b1, self.b2, self.b3))

        def rule(g, m, v, n, last):
            d = jnp.where(t == 1, 0, g - last)
            m, v = mix(m, g, self.b1), mix(v, d, self.b2)
            n = mix(n, abs_sq(g + self.b2 * d), self.b3)
            mean = m / weight1 + self.b2 * v / weight2
            return mean / (root(n / weight3 + self.eps_root) + self.eps), m, v, n, g

        given = (state.m, state.v, state.n, state.g)
        updates, m, v, n, g = map_leaves(rule, updates, *given)
        return updates, ScaleByAdanState(m=m, v=v, n=n, g=g, t=t)


scale_by_adan = ScaleByAdan


@checked
def adan(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.98,
    b2: Number = 0.92,
    b3: Number = 0.99,
    eps: Number = 1e-8,
    eps_root: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    *,
    decay: Decay = "rate",
) -> Chain:
    """Step along the mean gradient and the mean of its changes, divided by a root.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleByAdan`

    The paper divides by 1 + learning_rate weight_decay, which is the same to first
    order.

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
        The paper recommends 5 to 10 times AdamW's.
      b1, b2, b3, eps: see `ScaleByAdan`, also for where optax differs.
      eps_root: see `ScaleByAdan`, where the default is 0, as in the paper.
      weight_decay: at least 0; a number or a schedule.
      mask: which parameters decay, see `add_decayed_weights`.
      decay: "rate" as above; "independent" subtracts weight_decay p without the
        learning rate, see `adamw`.

    Raises:
      ValueError: if `decay` is neither "rate" nor "independent".

    Xie et al. 2022, https://arxiv.org/abs/2208.06677, Algorithm 1.
    """
    direction = scale_by_adan(b1, b2, b3, eps, eps_root)
    return chain(direction, *rate_and_decay(learning_rate, weight_decay, mask, decay))
