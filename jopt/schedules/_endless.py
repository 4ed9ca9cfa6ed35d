"""A warmup, and a fall without end: exponential, inverse square root."""

import jax.numpy as jnp

from jopt.core import Number, Schedule, check, pytree, static
from jopt.schedules._decay import ExponentialDecay
from jopt.schedules._warmup_shapes import warmed


@pytree
class WarmupExponentialDecaySchedule(Schedule):
    """Rise on a line, then multiply by `decay_rate` every `transition_steps`.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = peak_value decay_rate ** p                                from there on
        p = (t - warmup_steps - transition_begin) / transition_steps, at least 0

    warmup_steps: in steps, at least 0; where it is 0, `peak_value` comes first. The
    rest: see `exponential_decay`, with `peak_value` as its `init_value`.

    Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.
    """

    init_value: Number
    peak_value: Number
    warmup_steps: Number
    transition_steps: Number
    decay_rate: Number
    transition_begin: Number = 0
    staircase: bool = static(default=False)
    end_value: Number | None = None

    def __post_init__(self):
        check(self, "warmup_steps", "decay_rate", least=0)

    def __call__(self, count):
        decay = ExponentialDecay(
            self.peak_value,
            self.transition_steps,
            self.decay_rate,
            self.transition_begin,
            self.staircase,
            self.end_value,
        )
        return warmed(self, count, decay(count - self.warmup_steps))


@pytree
class InverseSqrtSchedule(Schedule):
    """Rise on a line, then fall as one over the root of the step.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = peak_value sqrt(warmup_steps / t)                         from there on

    init_value, peak_value: any numbers. warmup_steps: in steps, at least 0, which
    counts as 1 in the root.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 5.3.
    """

    init_value: Number
    peak_value: Number
    warmup_steps: Number

    def __post_init__(self):
        check(self, "warmup_steps", least=0)

    def __call__(self, count):
        steps = jnp.maximum(self.warmup_steps, 1)
        fall = jnp.sqrt(steps / jnp.maximum(count, steps))
        return warmed(self, count, self.peak_value * fall)


warmup_exponential_decay_schedule = WarmupExponentialDecaySchedule
inverse_sqrt_schedule = InverseSqrtSchedule
