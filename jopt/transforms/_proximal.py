"""The L1 norm of the parameters: its proximal step and its subgradient."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Number,
    ScalarOrSchedule,
    as_schedule,
    check,
    field,
    increment,
    map_leaves,
    needed,
    pytree,
    value_at,
)


class ProximalL1State(NamedTuple):
    """The step of the learning rate's schedule."""

    count: jax.Array  # int32[], updates made


@pytree
class ProximalL1(GradientTransformation):
    """Move the parameters after the step towards zero, and to zero if they are near it.

        p + u = sign(q) max(|q| - learning_rate(t) strength, 0),  q = p + g

        tx = jopt.chain(jopt.sgd(0.1), jopt.proximal_l1(0.01, 0.1))

    Place it last in a chain. Parameters become exactly zero if u is added unchanged and
    its dtype (the gradients') is not narrower than the params'.

    With the steps of `sgd` this is the proximal gradient method, which converges to the
    minimum of loss + strength |p|_1. After an adaptive scaling the strength is in units
    of the scaled gradient, as weight decay is in `adamw`: with Adam, a strength of 0.1
    zeroes the parameters whose mean gradient is less than a tenth of its root mean
    square.

    `update` needs `params`. For some of the parameters only, wrap it in `masked`.

    Args:
      strength: factor of the L1 norm that is added to the loss, at least 0, in units of
        loss per unit of params.
      learning_rate: the optimizer's learning rate, at least 0, a number or a schedule.

    Raises:
      ValueError: if `update` is given no `params`.

    Daubechies et al. 2004, https://arxiv.org/abs/math/0307152; Beck & Teboulle 2009,
    https://doi.org/10.1137/080716542.
    """

    strength: Number
    learning_rate: ScalarOrSchedule = field(converter=as_schedule)

    shapeless = True

    def __post_init__(self):
        check(self, "strength", "learning_rate", least=0)

    def init(self, params):
        return ProximalL1State(count=jnp.zeros((), jnp.int32))

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters to draw towards zero")
        distance = value_at(self.learning_rate, state.count) * self.strength

        def rule(g, p):
            q = p + g
            size = jnp.abs(q)
            beyond = size > distance
            sign = q / jnp.where(beyond, size, 1)
            return jnp.where(beyond, g - distance * sign, -p)

        updates = map_leaves(rule, updates, params)
        return updates, ProximalL1State(count=increment(state.count))


@pytree
class AddL1Subgradient(GradientTransformation):
    """Add a subgradient of the parameters' L1 norm to the gradients.

        u = g + strength sign(p),  sign(p) = p / |p| for a complex coordinate

    Place it first in a chain, as a term of the loss would be. Small parameters step
    from side to side of zero; `proximal_l1` makes them zero. The L2 norm needs no
    proximal step: `add_decayed_weights`, first in a chain, adds the gradient of
    weight_decay / 2 |p|^2.

    `update` needs `params`.

    Args:
      strength: factor of the L1 norm that is added to the loss, at least 0, in units of
        loss per unit of params.

    Raises:
      ValueError: if `update` is given no `params`.

    Tibshirani 1996, https://doi.org/10.1111/j.2517-6161.1996.tb02080.x, for the norm.
    """

    strength: Number

    shapeless = True

    def __post_init__(self):
        check(self, "strength", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters whose norm is in the loss")

        def rule(g, p):
            return g + self.strength * jnp.sign(p)

        return map_leaves(rule, updates, params), state


proximal_l1 = ProximalL1
add_l1_subgradient = AddL1Subgradient
