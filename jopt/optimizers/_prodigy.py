"""Prodigy: AdamW that finds its learning rate."""

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
    copied,
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
    static,
    sum_leaves,
    value_at,
)


class ProdigyState(NamedTuple):
    """Adam's means, the estimate of the distance and the sums behind it."""

    exp_avg: PyTree  # like params, m
    exp_avg_sq: PyTree  # like params, real, v
    grad_sum: PyTree  # like params, s
    params0: PyTree  # like params, where training began
    estim_lr: jax.Array  # float32[], d
    numerator_weighted: jax.Array  # float32[], r
    count: jax.Array  # int32[], updates made


@pytree
class Prodigy(GradientTransformation):
    """Step as AdamW does at a learning rate of d, an estimate of the distance to go.

        m <- beta1 m + (1 - beta1) d g          v <- beta2 v + (1 - beta2) |d g|^2
        r <- beta3 r + w <g, p_0 - p>           s <- beta3 s + w' g
        d <- max(d, estim_lr_coef r / |s|_1)
        u = -rate (m / (sqrt(v) + d eps) + weight_decay p),  eps with the new d, and
        rate = learning_rate(t) d sqrt(1 - beta2^t') / (1 - beta1^t')
        w = d rate / estim_lr0                  w' = w, or d^2 / estim_lr0 safeguarded

    Args:
      learning_rate, beta3, eps, estim_lr0, estim_lr_coef: see `prodigy`.
      beta1: share of m that a step keeps, in [0, 1).
      beta2: share of v that a step keeps, in [0, 1).
      weight_decay, safeguard_warmup: see `prodigy`.

    Raises:
      ValueError: `update` is called without `params`.

    Mishchenko & Defazio 2023, https://arxiv.org/abs/2306.06101, Algorithm 4.
    """

    learning_rate: ScalarOrSchedule = field(converter=as_schedule, default=1.0)
    beta1: Number = 0.9
    beta2: Number = 0.999
    beta3: Number | None = None
    eps: Number = 1e-8
    estim_lr0: Number = 1e-6
    estim_lr_coef: Number = 1.0
    weight_decay: Number = 0.0
    safeguard_warmup: bool = static(default=False)

    shapeless = True

    def __post_init__(self):
        check(self, "learning_rate", least=0)
        check(self, "beta1", "beta2", "beta3", least=0, below=1)
        check(self, "eps", least=0)
        check(self, "estim_lr0", "estim_lr_coef", above=0)
        check(self, "weight_decay", least=0)

    def init(self, params):
        return ProdigyState(
            exp_avg=full_like(params),
            exp_avg_sq=full_like(params, real=True),
            grad_sum=full_like(params),
            params0=copied(params),
            estim_lr=jnp.full((), self.estim_lr0, float),
            numerator_weighted=jnp.zeros((), float),
            count=jnp.zeros((), jnp.int32),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters and how far they went")
        beta3 = root(jnp.asarray(self.beta2)) if self.beta3 is None else self.beta3
        count = increment(state.count)
        corrected = root(bias(self.beta2, count)) / bias(self.beta1, count)
        d = state.estim_lr
        rate = value_at(self.learning_rate, state.count) * d * corrected
        weight = d / self.estim_lr0 * rate
        share = d / self.estim_lr0 * d if self.safeguard_warmup else weight

        def remember(m, v, s, g):
            m = mix(m, d * g, self.beta1)
            return m, mix(v, abs_sq(d * g), self.beta2), beta3 * s + share * g

        means = state.exp_avg, state.exp_avg_sq, state.grad_sum
        mean, square, total = map_leaves(remember, *means, updates)

        gone = map_leaves(lambda p0, p: p0 - p, state.params0, params)
        r = beta3 * state.numerator_weighted + weight * inner_product(updates, gone)
        # Before the first nonzero gradient the quotient is 0, so d stays.
        estimate = quotient(self.estim_lr_coef * r, sum_leaves(jnp.abs, total))
        grown = jnp.maximum(d, estimate)

        def step(g, m, v, p):
            return -rate * (m / (root(v) + grown * self.eps) + self.weight_decay * p)

        return map_leaves(step, updates, mean, square, params), ProdigyState(
            exp_avg=mean,
            exp_avg_sq=square,
            grad_sum=total,
            params0=state.params0,
            estim_lr=grown.astype(state.estim_lr.dtype),
            numerator_weighted=r.astype(state.numerator_weighted.dtype),
            count=count,
        )


@checked
def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[Number, Number] = (0.9, 0.999),
    beta3: Number | None = None,
    eps: Number = 1e-8,
    estim_lr0: Number = 1e-6,
    estim_lr_coef: Number = 1.0,
    weight_decay: Number = 0.0,
    safeguard_warmup: bool = False,
) -> Prodigy:
    """Step as AdamW does, at a learning rate that grows to the distance to go.

        p <- p - learning_rate d (m / sqrt(v) + weight_decay p),  see `Prodigy`

    The estimate is one for all leaves: gradients of another loss scale, or a mask, give
    another d. Before the first nonzero gradient d stays, where optax makes it NaN. The
    authors' package corrects no bias by default (`use_bias_correction`).

        tx = jopt.prodigy(jopt.cosine_decay_schedule(1.0, 10_000))

    Args:
      learning_rate: factor on the estimate d, at least 0, without unit; a number or a
        schedule. Decay it from 1 as any other learning rate.
      betas: Adam's beta1 and beta2, each in [0, 1).
      beta3: share of the estimate's sums that a step keeps, in [0, 1). None is the root
        of betas[1].
      eps: at least 0, in units of the gradients.
      estim_lr0: start of d, above 0, in units of params. It must be less than the
        distance to a solution, so that d can grow: d never shrinks.
      estim_lr_coef: factor on each estimate, above 0.
      weight_decay: at least 0. The whole rate multiplies it.
      safeguard_warmup: whether to leave the learning rate out of the estimate's
        denominator, for a long warmup.

    Mishchenko & Defazio 2023, https://arxiv.org/abs/2306.06101, Algorithm 4.
    """
    options = (beta3, eps, estim_lr0, estim_lr_coef, weight_decay, safeguard_warmup)
    return Prodigy(learning_rate, *betas, *options)
