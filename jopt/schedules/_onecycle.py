"""One cycle: a rise to the peak and a fall far below the initial value."""

import jax.numpy as jnp

from jopt.core import Number, Schedule, check, pytree, round_if_close
from jopt.schedules._curves import interpolate


@pytree
class LinearOnecycleSchedule(Schedule):
    """Rise on a line, fall back on a line, and fall further on a third line.

        step                            value
        0                               peak_value / div_factor
        pct_start transition_steps      peak_value
        pct_final transition_steps      peak_value / div_factor
        transition_steps                peak_value / div_factor / final_div_factor

    The two steps in the middle are rounded down.

    Args:
      transition_steps: length of the cycle, in steps, above 0.
      peak_value: greatest value, any number.
      pct_start: share of `transition_steps` at which the peak is, in [0, 1].
      pct_final: share of `transition_steps` at which the value is back at its start, in
        [0, 1], at least `pct_start`.
      div_factor: peak value over initial value, above 0.
      final_div_factor: initial value over final value, above 0.

    Smith & Topin 2017, https://arxiv.org/abs/1708.07120, section 3.
    """

    transition_steps: Number
    peak_value: Number
    pct_start: Number = 0.3
    pct_final: Number = 0.85
    div_factor: Number = 25.0
    final_div_factor: Number = 1e4

    def __post_init__(self):
        _check_cycle(self)
        check(self, "pct_final", least=0, most=1)

    def __call__(self, count):
        steps, start = self.transition_steps, self.peak_value / self.div_factor
        boundaries = _step_at(self.pct_start, steps), _step_at(self.pct_final, steps)
        values = start, self.peak_value, start, start / self.final_div_factor
        return interpolate(count, (*boundaries, steps), values, "linear")


@pytree
class CosineOnecycleSchedule(Schedule):
    """Rise on half a cosine, and fall on half a cosine.

        step                            value
        0                               peak_value / div_factor
        pct_start transition_steps      peak_value
        transition_steps                peak_value / div_factor / final_div_factor

    The step in the middle is rounded down.

    Args:
      transition_steps: length of the cycle, in steps, above 0.
      peak_value: greatest value, any number.
      pct_start: share of `transition_steps` at which the peak is, in [0, 1].
      div_factor: peak value over initial value, above 0.
      final_div_factor: initial value over final value, above 0.

    Smith & Topin 2017, https://arxiv.org/abs/1708.07120, section 3.
    """

    transition_steps: Number
    peak_value: Number
    pct_start: Number = 0.3
    div_factor: Number = 25.0
    final_div_factor: Number = 1e4

    def __post_init__(self):
        _check_cycle(self)

    def __call__(self, count):
        steps, start = self.transition_steps, self.peak_value / self.div_factor
        values = start, self.peak_value, start / self.final_div_factor
        turn = _step_at(self.pct_start, steps)
        return interpolate(count, (turn, steps), values, "cosine")


def _check_cycle(self):
    check(self, "transition_steps", above=0)
    check(self, "pct_start", least=0, most=1)
    check(self, "div_factor", "final_div_factor", above=0)


def _step_at(share, steps):
    return jnp.floor(round_if_close(share * steps))


linear_onecycle_schedule = LinearOnecycleSchedule
cosine_onecycle_schedule = CosineOnecycleSchedule
