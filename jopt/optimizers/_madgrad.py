"""MADGRAD."""

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
    chain,
    check,
    checked,
    copied,
    field,
    full_like,
    increment,
    map_leaves,
    needed,
    pytree,
    value_at,
    wide,
)
from jopt.transforms import add_decayed_weights


class MadgradState(NamedTuple):
    """Weighted sums of the gradients and of their squares, and the start."""

    count: jax.Array  # int32[], updates made
    grad_sum_sq: PyTree  # like params, real
    s: PyTree  # like params
    x0: PyTree  # like params


@pytree
class ScaleByMadgrad(GradientTransformation):
    """Average the gradients from the start on, scaled by a cube root of their squares.

        w = (learning_rate(t) + eps) sqrt(t + 1),  t = updates made before this one
        G <- G + w |g|^2        s <- s + w g
        z = p0 - s / (cbrt(G) + eps)        u = (1 - momentum) (z - p)

    p0 are the parameters that `init` was given.

    The updates are whole steps, with their sign: no learning rate may follow. The state
    holds a copy of the parameters, so `init` needs their values.

    Args:
      learning_rate: at least 0; a number or a schedule.
      momentum: share of p that a step keeps, in [0, 1).
      eps: above 0. It has no single unit, because the learning rate is added to it.

    Raises:
      ValueError: `update` is called without `params`.

    Defazio & Jelassi 2021, https://arxiv.org/abs/2101.11075, Algorithm 1, with eps as
    in the authors' code.
    """

    learning_rate: ScalarOrSchedule = field(converter=as_schedule)
    momentum: Number = 0.9
    eps: Number = 1e-6

    shapeless = True

    def __post_init__(self):
        check(self, "learning_rate", least=0)
        check(self, "momentum", least=0, below=1)
        check(self, "eps", least=0)

    def init(self, params):
        return MadgradState(
            count=jnp.zeros((), jnp.int32),
            grad_sum_sq=full_like(params, real=True),
            s=full_like(params),
            x0=copied(params),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters, which momentum keeps")
        rate = value_at(self.learning_rate, state.count) + self.eps
        weight = rate * jnp.sqrt(wide(increment(state.count)))

        def rule(g, squares, total, start, p):
            squares = squares + weight * abs_sq(g)
            total = total + weight * g
            none = squares == 0
            # The slope of a cube root at zero and 0 / 0 are NaN or infinite.
            scale = jnp.cbrt(jnp.where(none, 1, squares)) + self.eps
            away = (start - p) - jnp.where(none, 0, total / scale)
            return (1 - self.momentum) * away, squares, total

        trees = (state.grad_sum_sq, state.s, state.x0, params)
        updates, squares, total = map_leaves(rule, updates, *trees)
        return updates, MadgradState(
            count=increment(state.count), grad_sum_sq=squares, s=total, x0=state.x0
        )


scale_by_madgrad = ScaleByMadgrad


@checked
def madgrad(
    learning_rate: ScalarOrSchedule,
    momentum: Number = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    eps: Number = 1e-6,
) -> Chain:
    """Descend by dual averaging, with adaptive scales and momentum.

        p <- p + u,  u of `ScaleByMadgrad`

        tx = jopt.madgrad(1e-3)

    Args:
      learning_rate: at least 0; a number or a schedule. It must be tuned: Adam's and
        SGD's rates do not carry over.
      momentum, eps: see `ScaleByMadgrad`.
      weight_decay: at least 0, added to the gradients as L2 regularization; a number or
        a schedule. Less than SGD's, often 0.

    Defazio & Jelassi 2021, https://arxiv.org/abs/2101.11075, Algorithm 1.
    """
    return chain(
        add_decayed_weights(weight_decay),
        scale_by_madgrad(learning_rate, momentum, eps),
    )
