"""Adamax and AdamaxW."""

from collections.abc import Callable

import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    bias,
    chain,
    check,
    checked,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
)
from jopt.optimizers._adam import ScaleByAdamState
from jopt.optimizers._decoupled_decay import Decay, rate_and_decay
from jopt.transforms import scale_by_learning_rate


@pytree
class ScaleByAdamax(GradientTransformation):
    """Divide the mean gradient by a decaying maximum.

        m <- b1 m + (1 - b1) g            v <- max(b2 v, |g| + eps)
        u = m' / v,  m' = m / (1 - b1^t)

    v is the state's `nu`, in units of the gradients, not of their squares.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: decay of the maximum at each step, in [0, 1).
      eps: added to |g|, at least 0, in units of the gradients. With 0 a
        coordinate without gradients is 0/0.

    Kingma & Ba 2014, https://arxiv.org/abs/1412.6980, Algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", least=0)

    def init(self, params):
        return ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params),
            nu=full_like(params, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        weight = bias(self.b1, count)

        def rule(g, m, v):
            m = mix(m, g, self.b1)
            v = jnp.maximum(self.b2 * v, jnp.abs(g) + self.eps)
            return m / weight / v, m, v

        updates, mu, nu = map_leaves(rule, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count=count, mu=mu, nu=nu)


scale_by_adamax = ScaleByAdamax


@checked
def adamax(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
) -> Chain:
    """Step along the mean gradient, divided by a decaying maximum.

        p <- p - learning_rate u,  u of `ScaleByAdamax`

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
        PyTorch's default is 2e-3.
      b1, b2, eps: see `ScaleByAdamax`.

    Kingma & Ba 2014, https://arxiv.org/abs/1412.6980, Algorithm 2.
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


@checked
def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    *,
    decay: Decay = "rate",
) -> Chain:
    """Step as Adamax does, and decay the parameters apart from its scaling.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleByAdamax`

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps: see `ScaleByAdamax`.
      weight_decay: at least 0; a number or a schedule. (PyTorch's Adamax adds its
        weight decay to the gradients.)
      mask: which parameters decay, see `add_decayed_weights`.
      decay: "rate" as above; "independent" subtracts weight_decay p without the
        learning rate, see `adamw`.

    Raises:
      ValueError: if `decay` is neither "rate" nor "independent".

    Loshchilov & Hutter 2017, https://arxiv.org/abs/1711.05101, for the decay.
    """
    direction = scale_by_adamax(b1, b2, eps)
    return chain(direction, *rate_and_decay(learning_rate, weight_decay, mask, decay))
