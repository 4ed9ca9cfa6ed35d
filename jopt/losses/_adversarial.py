"""Adversarial training: on inputs changed so that the loss grows."""

from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core import (
    Kind,
    Number,
    check,
    field,
    is_count,
    map_leaves,
    pytree,
    static,
    wide,
    wide_dtype,
)
from jopt.losses._loss import Pointwise, as_loss, examples

_Steps: TypeAlias = Annotated[int, Kind("an integer, at least 1", is_count, ValueError)]


@pytree
class Adversarial:
    """Train on inputs moved by at most epsilon, where the loss is greater.

        d_0 = start epsilon u,   u uniform in [-1, 1]
        d_k = clip(d_{k-1} + step sign(gradient of the loss at x + d_{k-1}), epsilon)
        loss at x + d_steps

        Adversarial(CrossEntropy(), epsilon=0.1)                              # FGSM
        Adversarial(CrossEntropy(), 8 / 255, 2 / 255, 10, start=1, low=0, high=1)  # PGD

    The moved inputs count as data: the loss is not differentiated through the attack.

    Args:
      loss: a loss of the logits and the labels.
      epsilon: the largest change of a number of the inputs, at least 0, in units of the
        inputs.
      step: the change of a number in one step, at least 0; None for epsilon.
      steps: number of steps of the attack, static, at least 1. Each costs a gradient.
      start: fraction of the ball in which the attack starts at random, in [0, 1]; with
        0 it starts at the inputs.
      low, high: the bounds of valid inputs, None for no bound.

    Call it with
      apply: inputs -> logits.
      batch: (inputs, labels); the inputs are floats, an array or a tree.
      key: a key of `jax.random`, for the start.
      attacked: inputs -> logits, for the attack in place of `apply`. An nnx module with
        batch statistics or dropout needs it, because it must not change itself inside
        `jax.grad`: give the module in evaluation mode.

    Returns:
      (loss, metrics): the mean loss of the moved inputs, at least float32, and
      `start_loss`, the loss where the attack starts (at the inputs if start = 0).

    Goodfellow et al. 2014 (FGSM), https://arxiv.org/abs/1412.6572, section 4; Madry et
    al. 2017 (PGD), https://arxiv.org/abs/1706.06083, section 2.1.
    """

    loss: Pointwise = field(converter=as_loss)
    epsilon: Number
    step: Number | None = None
    steps: _Steps = static(default=1)
    start: Number = 0.0
    low: Number | None = None
    high: Number | None = None

    def __post_init__(self):
        check(self, "epsilon", "step", least=0)
        check(self, "start", least=0, most=1)

    def __call__(self, apply, batch, key, *, attacked=None):
        inputs, labels = examples(self, batch, floats=True)
        attacked = apply if attacked is None else attacked
        epsilon = wide(self.epsilon)
        step = epsilon if self.step is None else wide(self.step)

        def moved(by):
            return map_leaves(lambda x, d: x + d, inputs, by)

        def valid(by):
            return map_leaves(self._nearest, by, inputs)

        def total(by):
            losses = self.loss(attacked(moved(by)), labels)
            return jnp.sum(losses), jnp.mean(losses)

        def ascend(by, _):
            grads, mean = jax.lax.stop_gradient(jax.grad(total, has_aux=True)(by))
            by = map_leaves(lambda d, g: d + step * jnp.sign(g), by, grads)
            return valid(by), mean

        leaves, structure = jax.tree.flatten(inputs)
        noise = structure.unflatten(
            jax.random.uniform(k, jnp.shape(x), wide_dtype(x), -1, 1)
            for k, x in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
        )
        first = map_leaves(lambda u: wide(self.start) * epsilon * u, noise)
        by, means = jax.lax.scan(ascend, valid(first), length=self.steps)
        loss = jnp.mean(self.loss(apply(moved(by)), labels))
        return loss, {"start_loss": means[0]}

    def _nearest(self, by: jax.Array, x: jax.Array) -> jax.Array:
        """Return the nearest move that stays in the ball and within the bounds."""
        by = jnp.clip(by, -wide(self.epsilon), wide(self.epsilon))
        if self.low is None and self.high is None:
            return by
        low, high = (None if b is None else wide(b) for b in (self.low, self.high))
        return jnp.clip(x + by, low, high) - x
