"""`LossScale`: a factor on the loss that keeps float16 gradients from underflow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import Number, check, pytree, wide

KNOWN = (int, float, np.number)  # values that Python can compare: no tracer, no array


@pytree
class LossScale:
    """Multiply the loss by a scale, as large as the gradients' dtype allows.

        after a step with finite gradients:   n <- n + 1
            if n = interval then:             scale <- scale growth,  n <- 0
        after a step with others:             scale <- scale backoff, n <- 0
        at all times:                         least <= scale <= most

    float16 has no number below 6e-8, and many gradients are smaller. The gradients of
    the scaled loss are larger by the scale; multiplied by `unscale`, in float32, they
    are the gradients of the loss. A step whose gradients overflow, because the scale
    was too large, must be skipped. `train_step` does all of it:

        half = jopt.Precision(compute="float16")
        jopt.TrainState.create(model, tx, precision=half, loss_scale=jopt.LossScale())

    By hand:

        grads = jax.grad(lambda params: scale.scaled(loss(params)))(params)
        grads = jax.tree.map(lambda g: scale.unscale * g.astype(jnp.float32), grads)
        scale = scale.after(finite)  # unless finite, keep the old params and state

    All numbers are scalars, and leaves: `interval` and `good_steps` are int32, the
    others float32. Under vmap each trial has its own.

    Args:
      scale: the initial scale, between `least` and `most`. A power of 2 adds no
        rounding. 2^15 is the largest whose gradient a loss in float16 can pass on; a
        loss computed in float32 allows more.
      growth: factor of a growing scale, at least 1.
      backoff: factor after a step that is not finite, above 0, at most 1. With `growth`
        and `backoff` both 1 the scale is constant.
      interval: number of finite steps in a row after which the scale grows, at least 1.
      least: lower bound of the scale, above 0.
      most: upper bound of the scale, at most 2^126.
      good_steps: n, the number of finite steps since the last change, at least 0; for a
        run that continues another.

    Raises:
      ValueError: if a number is outside of its range, or `interval` or `good_steps` is
        no whole number.

    Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740, section 3.2. PyTorch's
    `GradScaler` has this rule without least and most, Flax's `DynamicScale` too, but
    grows after interval + 1 steps.
    """

    scale: Number = 2.0**15
    growth: Number = 2.0
    backoff: Number = 0.5
    interval: Number = 2000
    least: Number = 1.0
    most: Number = 2.0**24
    good_steps: Number = 0

    def __post_init__(self):
        check(self, "growth", "interval", least=1)
        check(self, "backoff", above=0, most=1)
        check(self, "least", above=0)
        check(self, "most", most=2.0**126, hint="1 / scale must not be zero.")
        check(self, "good_steps", least=0)
        check(self, "interval", "good_steps", most=2**31 - 1)
        least = self.least if isinstance(self.least, KNOWN) else None
        most = self.most if isinstance(self.most, KNOWN) else None
        check(self, "most", least=least)
        check(self, "scale", least=least, most=most)
        for field in dataclasses.fields(self):
            self.__dict__[field.name] = self._settled(field.name)

    def _settled(self, name: str) -> np.number | jax.Array:
        """Return the number in its dtype; another dtype would compile another step."""
        value, whole = getattr(self, name), name in ("interval", "good_steps")
        if whole and isinstance(value, float) and not value.is_integer():
            raise ValueError(f"LossScale: {name} must be a whole number, got {value}.")
        kind = np.int32 if whole else np.float32
        return kind(value) if isinstance(value, KNOWN) else jnp.asarray(value, kind)

    def scaled(self, loss: jax.Array) -> jax.Array:
        """Return the loss times the scale, in at least float32."""
        loss = wide(loss)
        return loss * jnp.asarray(self.scale, loss.dtype)

    @property
    def unscale(self) -> jax.Array:
        """The factor that unscales the gradients, 1 / scale."""
        return 1 / jnp.asarray(self.scale, float)  # as wide as JAX computes

    def after(self, finite: jax.Array) -> "LossScale":
        """Return the scale of the next step.

        Args:
          finite: bool[], whether all gradients of this step are finite.
        """
        good = jnp.where(finite, self.good_steps + 1, 0)
        grown = good >= self.interval
        factor = jnp.where(finite, jnp.where(grown, self.growth, 1), self.backoff)
        return dataclasses.replace(
            self,
            scale=jnp.clip(self.scale * factor, self.least, self.most),
            good_steps=jnp.where(grown, 0, good),
        )
