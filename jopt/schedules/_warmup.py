"""What schedules with a warmup share; `self` is one of them."""

import jax.numpy as jnp

from jopt._pytree import check


def check_steps(self):
    """Raise a ValueError unless 0 <= warmup_steps < decay_steps."""
    check(self, "warmup_steps", least=0)
    if isinstance(self.warmup_steps, (int, float)):
        hint = "decay_steps counts from the start and includes warmup_steps."
        check(self, "decay_steps", above=self.warmup_steps, hint=hint)


def warmed(self, count, after):
    """Return the line of the warmup, and `after` from its end on."""
    steps = jnp.maximum(self.warmup_steps, 1)
    rising = self.init_value + (self.peak_value - self.init_value) * count / steps
    return jnp.where(count < self.warmup_steps, rising, after)


def way_down(self, count):
    """Return how far from the warmup's end to the schedule's the count is."""
    return (count - self.warmup_steps) / (self.decay_steps - self.warmup_steps)


def between(self, height):
    """Return `end_value` at height 0 and `peak_value` at height 1."""
    return self.end_value + (self.peak_value - self.end_value) * height
