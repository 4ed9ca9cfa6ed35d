"""Adadelta."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    chain,
    check,
    checked,
    full_like,
    map_leaves,
    mix,
    pytree,
)
from jopt.transforms import add_decayed_weights, scale_by_learning_rate


class ScaleByAdaDeltaState(NamedTuple):
    """Mean squares of the gradients and of the updates."""

    e_g: PyTree  # like params, real
    e_x: PyTree  # like params, real


@pytree
class ScaleByAdadelta(GradientTransformation):
    """Scale the gradient from its own root mean square to that of the updates.

        v <- rho v + (1 - rho) |g|^2
        u = g sqrt(x + eps) / sqrt(v + eps)
        x <- rho x + (1 - rho) |u|^2

    The squares are of the modulus; optax squares complex gradients as they are.

    Args:
      rho: share of v and x that a step keeps, in [0, 1).
      eps: added to both mean squares, above 0, in units of the gradients squared in v
        and of the updates squared in x. It limits the first steps to sqrt(eps).

    Zeiler 2012, https://arxiv.org/abs/1212.5701, Algorithm 1.
    """

    rho: Number = 0.9
    eps: Number = 1e-6

    shapeless = True

    def __post_init__(self):
        check(self, "rho", least=0, below=1)
        check(self, "eps", above=0, hint="With 0 the parameters never move.")

    def init(self, params):
        squares = full_like(params, real=True)
        return ScaleByAdaDeltaState(e_g=squares, e_x=squares)

    def update(self, updates, state, params=None, **extra):
        def rule(g, v, x):
            v = mix(v, abs_sq(g), self.rho)
            u = g * (jax.lax.rsqrt(v + self.eps) * jax.lax.sqrt(x + self.eps))
            return u, v, mix(x, abs_sq(u), self.rho)

        updates, e_g, e_x = map_leaves(rule, updates, state.e_g, state.e_x)
        return updates, ScaleByAdaDeltaState(e_g=e_g, e_x=e_x)


scale_by_adadelta = ScaleByAdadelta


@checked
def adadelta(
    learning_rate: ScalarOrSchedule | None = None,
    rho: Number = 0.9,
    eps: Number = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> Chain:
    """Step along the gradient in units that the past updates set.

        p <- p - learning_rate u,  u of `ScaleByAdadelta` for g + weight_decay p

    Args:
      learning_rate: factor on the step, at least 0, without unit; a number or a
        schedule. None is 1, as in the paper and PyTorch. (With None optax leaves out
        the minus, and ascends.)
      rho, eps: see `ScaleByAdadelta`.
      weight_decay: at least 0; a number or a schedule. It is added before the scaling,
        as in PyTorch.
      weight_decay_mask: which parameters decay, see `add_decayed_weights`.

    Zeiler 2012, https://arxiv.org/abs/1212.5701, Algorithm 1.
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(1.0 if learning_rate is None else learning_rate),
    )
