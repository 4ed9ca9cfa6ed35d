"""What schedules with a warmup share; `self` is one of them."""

import jax.numpy as jnp

from jopt.core import check, progress
from jopt.schedules._shapes import blend


def check_steps(self):
    """Raise a ValueError unless 0 <= warmup_steps < decay_steps."""
    check(self, "warmup_steps", least=0)
    if isinstance(self.warmup_steps, (int, float)):
        hint = "decay_steps counts from the start and includes warmup_steps."
        check(self, "decay_steps", above=self.warmup_steps, hint=hint)


def warmed(self, count, after):
    """Return the line of the warmup, and `after` from its end on."""
    rising = blend(self.init_value, self.peak_value, progress(count, self.warmup_steps))
    return jnp.where(count < self.warmup_steps, rising, after)


def way_down(self, count):
    """Return the way from the warmup's end to the schedule's."""
    return progress(count - self.warmup_steps, self.decay_steps - self.warmup_steps)


def fallen(self, curve):
    """Return the value on the way from `peak_value` to `end_value`."""
    return blend(self.peak_value, self.end_value, curve)
