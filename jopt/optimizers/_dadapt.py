"""D-Adaptation: AdamW that finds its learning rate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    as_schedule,
    bias,
    check,
    checked,
    field,
    full_like,
    increment,
    inner_product,
    map_leaves,
    mix,
    needed,
    pytree,
    quotient,
    root,
    sum_leaves,
    value_at,
)


class DAdaptAdamWState(NamedTuple):
    """Adam's means, the estimate of the distance and the sums behind it."""

    exp_avg: PyTree  # like params, m
    exp_avg_sq: PyTree  # like params, real, v
    grad_sum: PyTree  # like params, s
    estim_lr: jax.Array  # float32[], d
    numerator_weighted: jax.Array  # float32[], r
    count: jax.Array  # int32[], updates made


@pytree
class DAdaptAdamW(GradientTransformation):
    """Step as AdamW does at a learning rate of d, an estimate of the distance to go.

        r <- b r + (1 - b) rate <g, s / (sqrt(v) + eps)>        b = sqrt(beta2)
        s <- b s + (1 - b) rate g               with s and v from before this update
        m <- beta1 m + (1 - beta1) rate g       v <- beta2 v + (1 - beta2) |g|^2
        d <- max(d, r / ((1 - b) |s|_1))
        u = -m / (sqrt(v) + eps) - weight_decay rate p
        rate = learning_rate(t) d sqrt(1 - beta2^t') / (1 - beta1^t'),  with the old d

    Args:
      learning_rate, eps, estim_lr0, weight_decay: see `dadapt_adamw`.
      beta1: share of m that a step keeps, in [0, 1).
      beta2: share of v that a step keeps, in [0, 1).

    Raises:
      ValueError: `update` is called without `params`.

    Defazio & Mishchenko 2023, https://arxiv.org/abs/2301.07733, Algorithm 5.
    """

    learning_rate: ScalarOrSchedule = field(converter=as_schedule, default=1.0)
    beta1: Number = 0.9
    beta2: Number = 0.999
    eps: Number = 1e-8
    estim_lr0: Number = 1e-6
    weight_decay: Number = 0.0

    shapeless = True

    def __post_init__(self):
        check(self, "learning_rate", least=0)
        check(self, "beta1", "beta2", least=0, below=1)
        check(self, "eps", "estim_lr0", above=0)
        check(self, "weight_decay", least=0)

    def init(self, params):
        return DAdaptAdamWState(
            exp_avg=full_like(params),
            exp_avg_sq=full_like(params, real=True),
            grad_sum=full_like(params),
            estim_lr=jnp.full((), self.estim_lr0, float),
            numerator_weighted=jnp.zeros((), float),
            count=jnp.zeros((), jnp.int32),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that decay")
        slow = root(jnp.asarray(self.beta2))
        rest = (1 - self.beta2) / (1 + slow)  # 1 - slow, which would cancel
        count = increment(state.count)
        corrected = root(bias(self.beta2, count)) / bias(self.beta1, count)
        d = state.estim_lr
        rate = value_at(self.learning_rate, state.count) * d * corrected

        def along(s, v):
            return s / (root(v) + self.eps)

        direction = map_leaves(along, state.grad_sum, state.exp_avg_sq)
        product = rate * inner_product(updates, direction)

        def rule(g, m, v, s, p):
            m = mix(m, rate * g, self.beta1)
            v = mix(v, abs_sq(g), self.beta2)
            u = -m / (root(v) + self.eps) - self.weight_decay * rate * p
            return u, m, v, slow * s + rest * rate * g

        means = state.exp_avg, state.exp_avg_sq, state.grad_sum
        updates, *means = map_leaves(rule, updates, *means, params)

        r = slow * state.numerator_weighted + rest * product
        # Before the first nonzero gradient the quotient is 0, so d stays.
        estimate = quotient(r, rest * sum_leaves(jnp.abs, means[-1]))
        grown = jnp.maximum(d, estimate)
        return updates, DAdaptAdamWState(
            *means,
            estim_lr=grown.astype(state.estim_lr.dtype),
            numerator_weighted=r.astype(state.numerator_weighted.dtype),
            count=count,
        )


@checked
def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[Number, Number] = (0.9, 0.999),
    eps: Number = 1e-8,
    estim_lr0: Number = 1e-6,
    weight_decay: Number = 0.0,
) -> DAdaptAdamW:
    """Step as AdamW does, at a learning rate that grows to the distance to go.

        p <- p - m / sqrt(v) - weight_decay rate p,  see `DAdaptAdamW`

    `prodigy` is the same authors' later method, whose estimate grows faster. Before the
    first nonzero gradient d stays, where optax makes it NaN. The authors' package
    (`DAdaptAdam`) corrects no bias and decays by L2 by default.

        tx = jopt.dadapt_adamw(jopt.cosine_decay_schedule(1.0, 10_000))

    Args:
      learning_rate: factor on the estimate d, at least 0, without unit; a number or a
        schedule. Decay it from 1 as any other learning rate.
      betas: Adam's beta1 and beta2, each in [0, 1).
      eps: above 0, in units of the gradients.
      estim_lr0: start of d, above 0, in units of params. It must be less than the
        distance to a solution, so that d can grow: d never shrinks.
      weight_decay: at least 0. The whole rate multiplies it.

    Defazio & Mishchenko 2023, https://arxiv.org/abs/2301.07733, Algorithm 5.
    """
    return DAdaptAdamW(learning_rate, *betas, eps, estim_lr0, weight_decay)
