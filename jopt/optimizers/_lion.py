"""Lion."""

from collections.abc import Callable
from dataclasses import field
from typing import Literal, NamedTuple

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
    check,
    checked,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    static,
)
from jopt.optimizers._decoupled_decay import Decay, rate_and_decay


class ScaleByLionState(NamedTuple):
    """Running mean of the gradients."""

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params


@pytree
class ScaleByLion(GradientTransformation):
    """Keep only the sign of an interpolation between momentum and gradient.

        u = sign(c),  c = b1 m + (1 - b1) g        m <- b2 m + (1 - b2) g

    Hard updates are -1, 0 or 1 in each coordinate, so the learning rate is in units of
    params: use 3 to 10 times less than Adam's, and as much more weight decay.

    c is computed from the new m, which gives the same number: c = (b1 / b2) m + (1 - b1
    / b2) g. To read the old m, XLA's CPU backend would copy it at every step.

    Args:
      b1: share of the momentum in the step, in [0, 1).
      b2: share of the momentum that is kept, in [1e-4, 1), because it divides b1;
        optax's may be 0.
      mu_dtype: dtype of m. None is the params' dtype, but at least float32.
      mode: "hard" is the sign; "smooth" is tanh(smooth_beta c); "refined" is c where
        |c| is below 1 and its sign elsewhere.
      smooth_beta: above 0, per unit of the gradients.

    Chen et al. 2023, https://arxiv.org/abs/2302.06675, Algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.99
    mu_dtype: DType = static(default=None)
    mode: Literal["hard", "smooth", "refined"] = static(default="hard", kw_only=True)
    smooth_beta: Number = field(default=1.0, kw_only=True)

    shapeless = True

    def __post_init__(self):
        check(self, "b1", least=0, below=1)
        check(self, "b2", least=1e-4, below=1, hint="It divides b1.")
        check(self, "smooth_beta", above=0)

    def init(self, params):
        mu = full_like(params, dtype=self.mu_dtype)
        return ScaleByLionState(count=jnp.zeros((), jnp.int32), mu=mu)

    def update(self, updates, state, params=None, **extra):
        sign, share = _SIGNS[self.mode], self.b1 / self.b2

        def rule(g, m):
            m = mix(m, g, self.b2)
            return sign(mix(m, g, share), self.smooth_beta), m

        updates, mu = map_leaves(rule, updates, state.mu)
        return updates, ScaleByLionState(count=increment(state.count), mu=mu)


_SIGNS = {
    "hard": lambda c, beta: jnp.sign(c),
    "smooth": lambda c, beta: jnp.tanh(beta * c),
    "refined": lambda c, beta: jnp.where(jnp.abs(c) < 1, c, jnp.sign(c)),
}

scale_by_lion = ScaleByLion


@checked
def lion(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.99,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    *,
    decay: Decay = "rate",
) -> Chain:
    """Step by the sign of an interpolation between momentum and gradient.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleByLion`

    Args:
      learning_rate: step size, at least 0, in units of params, 3 to 10 times less than
        AdamW's; a number or a schedule.
      b1, b2, mu_dtype: see `ScaleByLion`.
      weight_decay: at least 0, 3 to 10 times more than AdamW's; a number or a schedule.
      mask: which parameters decay, see `add_decayed_weights`.
      decay: "rate" as above; "independent" subtracts weight_decay p without the
        learning rate, see `adamw`.

    Raises:
      ValueError: if `decay` is neither "rate" nor "independent".

    Chen et al. 2023, https://arxiv.org/abs/2302.06675, Algorithm 2.
    """
    direction = scale_by_lion(b1, b2, mu_dtype)
    return chain(direction, *rate_and_decay(learning_rate, weight_decay, mask, decay))
