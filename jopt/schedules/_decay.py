"""Schedules from one value to another: constant, linear, polynomial, decays."""

import jax
import jax.numpy as jnp

from jopt.core import Number, Schedule, check, divmod_steps, progress, pytree, static
from jopt.schedules._curves import blend, half_cosine, power


@pytree
class ConstantSchedule(Schedule):
    """Return `value` at every step.

        s(t) = value

    Args:
      value: any number.
    """

    value: Number

    def __call__(self, count):
        return jnp.broadcast_to(self.value, count.shape)


@pytree
class LinearSchedule(Schedule):
    """Go from one value to another on a straight line.

        s(t) = init_value + (end_value - init_value) f
        f = clip((t - transition_begin) / transition_steps, 0, 1)

    Args:
      init_value: value until `transition_begin`, any number.
      end_value: value from `transition_begin + transition_steps` on, any number.
      transition_steps: length of the transition, in steps. If it is not above 0, the
        value stays `init_value`, as in optax.
      transition_begin: first step of the transition, in steps; a negative number counts
        as 0.
    """

    init_value: Number
    end_value: Number
    transition_steps: Number
    transition_begin: Number = 0

    def __call__(self, count):
        value = blend(self.init_value, self.end_value, _transition(self, count))
        return jnp.where(self.transition_steps > 0, value, self.init_value)


@pytree
class PolynomialSchedule(Schedule):
    """Go from one value to another on a power of the remaining share of the transition.

        s(t) = end_value + (init_value - end_value) (1 - f) ** power
        f = clip((t - transition_begin) / transition_steps, 0, 1)

    Args:
      init_value: value until `transition_begin`, any number.
      end_value: value from `transition_begin + transition_steps` on, any number.
      power: exponent, above 0; 1 gives a straight line.
      transition_steps: length of the transition, in steps, as in `linear_schedule`.
      transition_begin: first step of the transition, as in `linear_schedule`.
    """

    init_value: Number
    end_value: Number
    power: Number
    transition_steps: Number
    transition_begin: Number = 0

    def __post_init__(self):
        check(self, "power", above=0)

    def __call__(self, count):
        curve = power(_transition(self, count), self.power)
        value = blend(self.init_value, self.end_value, curve)
        return jnp.where(self.transition_steps > 0, value, self.init_value)


@pytree
class ExponentialDecay(Schedule):
    """Multiply by `decay_rate` every `transition_steps`.

        s(t) = init_value decay_rate ** p
        p = (t - transition_begin) / transition_steps

    The value is `init_value` until `transition_begin`.

    Args:
      init_value: value until `transition_begin`, any number.
      transition_steps: steps after which the value is multiplied once. If it is not
        above 0, the value stays `init_value`.
      decay_rate: factor, at least 0; 0 keeps `init_value`, as in optax.
      transition_begin: first step of the decay, in steps; a negative number counts as
        0.
      staircase: whether p is rounded down.
      end_value: bound of the value: a lower bound for a rate below 1, an upper bound
        for a rate above 1. None sets no bound.
    """

    init_value: Number
    transition_steps: Number
    decay_rate: Number
    transition_begin: Number = 0
    staircase: bool = static(default=False)
    end_value: Number | None = None

    def __post_init__(self):
        check(self, "decay_rate", least=0)

    def __call__(self, count):
        moving = (self.transition_steps > 0) & (self.decay_rate > 0)
        rate = jnp.where(moving, self.decay_rate, 1)
        steps = jnp.where(moving, self.transition_steps, 1)
        past = jnp.maximum(count - jnp.maximum(self.transition_begin, 0), 0)

        def growth(past):
            whole, rest = divmod_steps(past, steps)
            # Two powers: the relative error of a power grows with its exponent.
            part = 1 if self.staircase else rate ** (rest / steps)
            return rate**whole * part

        # Where the power overflows its gradient is infinite or NaN, even if `end_value`
        # bounds the value.
        far = growth(past) > jnp.finfo(past.dtype).max ** 0.5
        value = self.init_value * growth(jnp.where(far, 0, past))
        above = jax.lax.stop_gradient(self.init_value * growth(past))
        value = jnp.where(far, above, value)
        if self.end_value is None:
            return value
        bounded = jnp.where(
            self.decay_rate < 1,
            jnp.maximum(value, self.end_value),
            jnp.minimum(value, self.end_value),
        )
        return jnp.where(moving, bounded, value)


@pytree
class CosineDecaySchedule(Schedule):
    """Fall on half a cosine.

        s(t) = init_value ((1 - alpha) c ** exponent + alpha)
        c = (1 + cos(pi min(t / decay_steps, 1))) / 2

    Args:
      init_value: value at step 0, any number.
      decay_steps: length of the decay, in steps, above 0.
      alpha: final value as a fraction of `init_value`.
      exponent: exponent of the cosine, above 0; 1 is the cosine itself.

    Loshchilov & Hutter 2016, https://arxiv.org/abs/1608.03983, equation 5.
    """

    init_value: Number
    decay_steps: Number
    alpha: Number = 0.0
    exponent: Number = 1.0

    def __post_init__(self):
        check(self, "decay_steps", "exponent", above=0)

    def __call__(self, count):
        curve = power(half_cosine(progress(count, self.decay_steps)), self.exponent)
        return blend(self.init_value, self.init_value * self.alpha, curve)


def _transition(self, count):
    return progress(
        count - jnp.maximum(self.transition_begin, 0), self.transition_steps
    )


constant_schedule = ConstantSchedule
linear_schedule = LinearSchedule
polynomial_schedule = PolynomialSchedule
exponential_decay = ExponentialDecay
cosine_decay_schedule = CosineDecaySchedule
