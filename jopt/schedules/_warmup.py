"""Schedules that begin with a warmup: a line from `init_value` to `peak_value`."""

from typing import Literal

import jax.numpy as jnp

from jopt.core import (
    Number,
    Schedule,
    check,
    checked,
    progress,
    pytree,
    round_if_close,
    static,
)
from jopt.schedules._curves import blend, half_cosine, power, square_root
from jopt.schedules._decay import ExponentialDecay, LinearSchedule

_COOLDOWNS = {"linear": lambda straight: straight, "1-sqrt": square_root}


@pytree
class WarmupCosineDecaySchedule(Schedule):
    """Rise on a line, then fall on half a cosine.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = end_value + (peak_value - end_value) c ** exponent        after it
        c = (1 + cos(pi min((t - warmup_steps) / (decay_steps - warmup_steps), 1))) / 2

    Args:
      init_value: value at step 0, any number.
      peak_value: value at the end of the warmup, any number.
      warmup_steps: length of the warmup, in steps, at least 0.
      decay_steps: length of the schedule, in steps from the start, warmup included:
        above `warmup_steps`.
      end_value: value from `decay_steps` on, any number.
      exponent: exponent of the cosine, above 0.

    Loshchilov & Hutter 2016, https://arxiv.org/abs/1608.03983, with the warmup of Goyal
    et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.
    """

    init_value: Number
    peak_value: Number
    warmup_steps: Number
    decay_steps: Number
    end_value: Number = 0.0
    exponent: Number = 1.0

    def __post_init__(self):
        _check_steps(self)
        check(self, "exponent", above=0)

    def __call__(self, count):
        curve = power(half_cosine(_way_down(self, count)), self.exponent)
        return _warmed(self, count, _fallen(self, curve))


@pytree
class WarmupLinearDecaySchedule(Schedule):
    """Rise on a line, then fall on a line.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = end_value + (peak_value - end_value) (1 - f)              after it
        f = min((t - warmup_steps) / (decay_steps - warmup_steps), 1)

    With `end_value` 0, the default, this is D2Z.

    Args:
      init_value: value at step 0, any number.
      peak_value: value at the end of the warmup, any number.
      warmup_steps: length of the warmup, in steps, at least 0.
      decay_steps: length of the schedule, in steps from the start, warmup included:
        above `warmup_steps`.
      end_value: value from `decay_steps` on, any number.

    Bergsma et al. 2025, https://arxiv.org/abs/2502.15938.
    """

    init_value: Number
    peak_value: Number
    warmup_steps: Number
    decay_steps: Number
    end_value: Number = 0.0

    def __post_init__(self):
        _check_steps(self)

    def __call__(self, count):
        return _warmed(self, count, _fallen(self, _way_down(self, count)))


@pytree
class WarmupStableDecaySchedule(Schedule):
    """Rise on a line, stay at the peak, then cool down.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = end_value + (peak_value - end_value) (1 - w(f))           after it
        f = clip((t - b) / (decay_steps - b), 0, 1)
        b = decay_steps (1 - cooldown_fraction)
        w(f) = f, or sqrt(f)

    A training without a planned end can stay at the peak and cool down from any step.

    Args:
      init_value: value at step 0, any number.
      peak_value: value between the warmup and the cooldown, any number.
      warmup_steps: length of the warmup, in steps, at least 0.
      decay_steps: length of the schedule, in steps from the start, warmup included:
        above `warmup_steps`.
      end_value: value from `decay_steps` on, any number.
      cooldown_fraction: share of all steps that the cooldown takes, in [0, 1]. The
        cooldown never begins before the warmup ends.
      cooldown: "linear", or "1-sqrt", which falls fast and ends flat.

    Raises:
      ValueError: if the cooldown is unknown.

    Zhai et al. 2021, https://arxiv.org/abs/2106.04560, section 3.3; Haegele et al.
    2024, https://arxiv.org/abs/2405.18392, equation 1 and section 4.
    """

    init_value: Number
    peak_value: Number
    warmup_steps: Number
    decay_steps: Number
    end_value: Number = 0.0
    cooldown_fraction: Number = 0.2
    cooldown: Literal["linear", "1-sqrt"] = static(default="linear")

    def __post_init__(self):
        _check_steps(self)
        check(self, "cooldown_fraction", least=0, most=1)
        if self.cooldown not in _COOLDOWNS:
            raise ValueError(
                "WarmupStableDecaySchedule: cooldown must be one of "
                f"{', '.join(_COOLDOWNS)}, got {self.cooldown!r}."
            )

    def __call__(self, count):
        cooldown = round_if_close(self.decay_steps * self.cooldown_fraction)
        begin = jnp.maximum(self.decay_steps - cooldown, self.warmup_steps)
        curve = _COOLDOWNS[self.cooldown](
            progress(count - begin, self.decay_steps - begin)
        )
        return _warmed(self, count, _fallen(self, curve))


@pytree
class WarmupExponentialDecaySchedule(Schedule):
    """Rise on a line, then multiply by `decay_rate` every `transition_steps`.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = peak_value decay_rate ** p                                after it
        p = (t - warmup_steps - transition_begin) / transition_steps, at least 0

    The decay is `exponential_decay` with `peak_value` as its `init_value`.

    Args:
      init_value: value at step 0, any number.
      peak_value: value at the end of the warmup, any number.
      warmup_steps: length of the warmup, in steps, at least 0. With 0 the schedule
        starts at `peak_value`.
      transition_steps: steps after which the value is multiplied once, as in
        `exponential_decay`.
      decay_rate: factor, at least 0, as in `exponential_decay`.
      transition_begin: first step of the decay, in steps after the warmup.
      staircase: whether p is rounded down.
      end_value: bound of the value, as in `exponential_decay`.

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
        return _warmed(self, count, decay(count - self.warmup_steps))


@pytree
class InverseSqrtSchedule(Schedule):
    """Rise on a line, then fall as one over the square root of the step.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = peak_value sqrt(warmup_steps / t)                         after it

    Args:
      init_value: value at step 0, any number.
      peak_value: value at the end of the warmup, any number.
      warmup_steps: length of the warmup, in steps, at least 0; in the square root 0
        counts as 1.

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
        return _warmed(self, count, self.peak_value * fall)


@checked
def warmup_constant_schedule(
    init_value: Number, peak_value: Number, warmup_steps: Number
) -> LinearSchedule:
    """Rise on a line, then stay: `linear_schedule` under optax's name.

        s(t) = init_value + (peak_value - init_value) min(t / warmup_steps, 1)

    Args:
      init_value: value at step 0, any number.
      peak_value: value from `warmup_steps` on, any number.
      warmup_steps: length of the warmup, in steps. If it is not above 0, the value
        stays `init_value`, as in optax.

    Returns:
      A `LinearSchedule`.
    """
    return LinearSchedule(init_value, peak_value, warmup_steps)


def _check_steps(self):
    """Raise a ValueError unless 0 <= warmup_steps < decay_steps."""
    check(self, "warmup_steps", least=0)
    if isinstance(self.warmup_steps, (int, float)):
        hint = "decay_steps counts from the start and includes warmup_steps."
        check(self, "decay_steps", above=self.warmup_steps, hint=hint)


def _warmed(self, count, after):
    """Return the line of the warmup while it lasts, and `after` from its end on."""
    rising = blend(self.init_value, self.peak_value, progress(count, self.warmup_steps))
    return jnp.where(count < self.warmup_steps, rising, after)


def _way_down(self, count):
    """Return the progress from the end of the warmup to the end of the schedule."""
    return progress(count - self.warmup_steps, self.decay_steps - self.warmup_steps)


def _fallen(self, curve):
    """Return the value between `peak_value` and `end_value` at the progress `curve`."""
    return blend(self.peak_value, self.end_value, curve)


warmup_cosine_decay_schedule = WarmupCosineDecaySchedule
warmup_linear_decay_schedule = WarmupLinearDecaySchedule
warmup_stable_decay_schedule = WarmupStableDecaySchedule
warmup_exponential_decay_schedule = WarmupExponentialDecaySchedule
inverse_sqrt_schedule = InverseSqrtSchedule
