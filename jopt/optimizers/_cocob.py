"""COCOB."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    chain,
    check,
    checked,
    copied,
    full_like,
    map_leaves,
    needed,
    pytree,
    wide,
)
from jopt.transforms import add_decayed_weights, scale_by_learning_rate


class COCOBState(NamedTuple):
    """Start, gradients and reward of each coordinate."""

    init_particles: PyTree  # like params, where they started
    cumulative_gradients: PyTree  # like params, minus the sum of the gradients
    scale: PyTree  # like params, the greatest gradient
    subgradients: PyTree  # like params, the sum of the gradients' sizes
    reward: PyTree  # like params, at least 0


@pytree
class ScaleByCocob(GradientTransformation):
    """Bet on each coordinate with what the earlier bets on it have won.

        L <- max(L, |g|)        G <- G + |g|        C <- C - g
        R <- max(R - g (p - p0), 0)
        p' = p0 + C / (L max(G + L, alpha L)) (L + R)        u = p' - p

    p0 are the parameters that `init` was given; L starts at eps, the rest at 0.

    The updates are whole steps, with their sign: no learning rate may follow.
    Parameters must be real. The state holds a copy of the parameters, so `init` needs
    their values.

    Args:
      alpha: at least 0, without unit. A greater alpha makes smaller first steps.
      eps: start of L, above 0, in units of the gradients.

    Raises:
      ValueError: `update` is called without `params`.

    Orabona & Tommasi 2017, https://arxiv.org/abs/1705.07795, Algorithm 2.
    """

    alpha: Number = 100.0
    eps: Number = 1e-8

    shapeless = True

    def __post_init__(self):
        check(self, "alpha", "eps", least=0)

    def init(self, params):
        return COCOBState(
            init_particles=copied(params),
            cumulative_gradients=full_like(params),
            scale=full_like(params, wide(self.eps)),
            subgradients=full_like(params),
            reward=full_like(params),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters, whose distance is the bet")

        def rule(g, total, greatest, sizes, reward, start, p):
            greatest = jnp.maximum(greatest, jnp.abs(g))
            sizes, total = sizes + jnp.abs(g), total - g
            reward = jnp.maximum(reward - g * (p - start), 0)
            # Divide by the greatest gradient first: its square may underflow.
            unit = jnp.where(greatest == 0, 1, greatest)
            odds = total / unit / jnp.maximum(sizes / unit + 1, self.alpha)
            return (
                (start - p) + odds * (1 + reward / unit),
                total,
                greatest,
                sizes,
                reward,
            )

        grown = (
            state.cumulative_gradients,
            state.scale,
            state.subgradients,
            state.reward,
        )
        updates, total, greatest, sizes, reward = map_leaves(
            rule, updates, *grown, state.init_particles, params
        )
        return updates, COCOBState(
            init_particles=state.init_particles,
            cumulative_gradients=total,
            scale=greatest,
            subgradients=sizes,
            reward=reward,
        )


scale_by_cocob = ScaleByCocob


@checked
def cocob(
    learning_rate: ScalarOrSchedule = 1.0,
    alpha: Number = 100.0,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> Chain:
    """Descend by betting, without a learning rate.

        p <- p + u,  u of `ScaleByCocob`

        tx = jopt.cocob()

    Args:
      learning_rate: factor on the gradients, at least 0; a number or a schedule. The
        bets do not depend on the scale of the gradients: a number has no effect except
        through eps, a schedule weights the steps.
      alpha, eps: see `ScaleByCocob`.
      weight_decay: at least 0, added to the gradients as L2 regularization; a number or
        a schedule.
      mask: which parameters decay, see `add_decayed_weights`.

    Orabona & Tommasi 2017, https://arxiv.org/abs/1705.07795, Algorithm 2.
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_cocob(alpha, eps),
    )
