"""AdEMAMix: Adam with a second, slow mean of the gradients."""

from collections.abc import Callable
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
    static,
    value_at,
)
from jopt.transforms import add_decayed_weights, scale_by_learning_rate


class ScaleByAdemamixState(NamedTuple):
    """Fast and slow mean of the gradients, and mean of their squares."""

    count: jax.Array  # int32[], updates made
    count_m2: jax.Array  # int32[], the same, for the schedules of b3 and alpha
    m1: PyTree  # like params
    m2: PyTree  # like params
    nu: PyTree  # like params, real


@pytree
class ScaleByAdemamix(GradientTransformation):
    """Add to Adam's mean a multiple of a second mean with a much longer memory.

        m1 <- b1 m1 + (1 - b1) g        v <- b2 v + (1 - b2) |g|^2
        m2 <- b3 m2 + (1 - b3) g
        u = (m1 / (1 - b1^t) + alpha m2) / (sqrt(v / (1 - b2^t) + eps_root) + eps)

    The bias of m2 is not corrected, so that m2 fills slowly. From a cold start the
    paper warms b3 and alpha up over the whole training; without that it may diverge.

    Args:
      b1: share of m1 that a step keeps, in [0, 1).
      b2: share of v that a step keeps, in [0, 1).
      b3: share of m2 that a step keeps, in [0, 1); a number or a schedule of updates
        made. 0.9999 remembers 10,000 updates.
      alpha: factor on m2, at least 0, usually 4 to 10; a number or a schedule of
        updates made. 0 is Adam.
      eps: added outside the root, at least 0, in units of the gradients.
      eps_root: added inside the root, at least 0, in units of the gradients squared.
      mu_dtype: dtype of m1 and m2. None is the params' dtype, but at least float32,
        which v always has.

    Pagliardini et al. 2024, https://arxiv.org/abs/2409.03137, Algorithm 1.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    b3: ScalarOrSchedule = field(converter=as_schedule, default=0.9999)
    alpha: ScalarOrSchedule = field(converter=as_schedule, default=6.0)
    eps: Number = 1e-8
    eps_root: Number = 0.0
    mu_dtype: DType = static(default=None)

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", "b3", least=0, below=1)
        check(self, "alpha", "eps", "eps_root", least=0)

    def init(self, params):
        return ScaleByAdemamixState(
            count=jnp.zeros((), jnp.int32),
            count_m2=jnp.zeros((), jnp.int32),
            m1=full_like(params, dtype=self.mu_dtype),
            m2=full_like(params, dtype=self.mu_dtype),
            nu=full_like(params, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        b3 = value_at(self.b3, state.count_m2)
        alpha = value_at(self.alpha, state.count_m2)
        count = increment(state.count)
        weight1, weight2 = bias(self.b1, count), bias(self.b2, count)

        def rule(g, m1, m2, v):
            m1, m2 = mix(m1, g, self.b1), mix(m2, g, b3)
            v = mix(v, abs_sq(g), self.b2)
            scale = root(v / weight2 + self.eps_root) + self.eps
            return (m1 / weight1 + alpha * m2) / scale, m1, m2, v

        trees = map_leaves(rule, updates, state.m1, state.m2, state.nu)
        return trees[0], ScaleByAdemamixState(
            count, increment(state.count_m2), *trees[1:]
        )


scale_by_ademamix = ScaleByAdemamix


@checked
def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> Chain:
    """Step as AdamW does, with a fast and a slow mean of the gradients.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleByAdemamix`

        tx = jopt.ademamix(1e-3, alpha=jopt.linear_schedule(0.0, 8.0, 10_000))

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, b3, eps, eps_root, mu_dtype: see `ScaleByAdemamix`.
      alpha: see `ScaleByAdemamix`. The default is 5 here and 6 there, as in optax.
      weight_decay, mask: see `adamw`.

    Pagliardini et al. 2024, https://arxiv.org/abs/2409.03137, Algorithm 1.
    """
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
