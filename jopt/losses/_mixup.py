"""Mixup: training on pairs of examples, mixed."""

import jax
import jax.numpy as jnp

from jopt.core import Number, check, field, map_leaves, mix, pytree, wide
from jopt.losses._loss import Pointwise, as_loss, examples


@pytree
class Mixup:
    """Train on mixtures of each example with another one of its batch.

        x <- m x + (1 - m) x',   loss = m loss(f(x), y) + (1 - m) loss(f(x), y')
        m ~ Beta(alpha, alpha), one for each batch

        objective = Mixup(CrossEntropy(), alpha=0.2)
        loss, metrics = objective(model, (images, labels), key)

    The loss is that of mixed labels if it is linear in them, as cross-entropy is.

    Args:
      loss: a loss of the logits and the labels.
      alpha: strength of the mixing, at least 0; at 0 nothing is mixed, at 1 all shares
        are equally likely.

    Call it with
      apply: inputs -> logits; called once.
      batch: (inputs, labels), trees of arrays whose first axis is the examples; the
        inputs are floats.
      key: a key of `jax.random`.

    Returns:
      (loss, metrics): the mean, at least float32; no metrics.

    Zhang et al. 2017, https://arxiv.org/abs/1710.09412.
    """

    loss: Pointwise = field(converter=as_loss)
    alpha: Number = 0.2

    def __post_init__(self):
        check(self, "alpha", least=0)

    def __call__(self, apply, batch, key):
        inputs, labels = examples(self, batch, floats=True)
        share_key, order_key = jax.random.split(key)
        share = symmetric_beta(share_key, wide(self.alpha))
        order = jax.random.permutation(order_key, len(jax.tree.leaves(inputs)[0]))
        others, other_labels = jax.tree.map(lambda x: x[order], (inputs, labels))
        mixed = map_leaves(lambda x, o: mix(x, o, share), inputs, others)
        logits = apply(mixed)
        own, other = self.loss(logits, labels), self.loss(logits, other_labels)
        return jnp.mean(map_leaves(lambda x, o: mix(x, o, share), own, other)), {}


def symmetric_beta(key: jax.Array, alpha: jax.Array) -> jax.Array:
    """Draw from Beta(alpha, alpha) in closed form.

        1/2 + 1/2 c sqrt(1 - s) / sqrt(s + c^2 (1 - s)),   s = u^(1 / alpha),
        c = cos(2 pi v),   u and v uniform in [0, 1]

    `jax.random.beta` draws in a loop until it accepts, and its gradient with respect to
    alpha compiles slowly.

    Args:
      key: a key of `jax.random`.
      alpha: a scalar, at least 0; at 0 the result is 0 or 1.

    Devroye 1996, "Random variate generation in one line of code", but with s in place
    of u^(-1 / alpha), which overflows.
    """
    least = jnp.finfo(alpha.dtype).tiny
    u, v = jax.random.uniform(key, (2,), alpha.dtype, least)
    log_s = jnp.log(u) / jnp.maximum(alpha, 1e-6)
    s, rest, c = jnp.exp(log_s), -jnp.expm1(log_s), jnp.cos(2 * jnp.pi * v)
    return (1 + c * jnp.sqrt(rest) / jnp.sqrt(s + c**2 * rest)) / 2
