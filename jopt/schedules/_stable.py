"""Warmup, stable, decay: the schedule of training without a planned end."""

from typing import Literal

import jax.numpy as jnp

from jopt.core import Number, Schedule, check, progress, pytree, round_if_close, static
from jopt.schedules._shapes import square_root
from jopt.schedules._warmup_shapes import check_steps, fallen, warmed


@pytree
class WarmupStableDecaySchedule(Schedule):
    """Rise on a line, stay at the peak, then cool down.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = end_value + (peak_value - end_value) (1 - w(f))           from there on
        f = clip((t - b) / (decay_steps - b), 0, 1)
        b = decay_steps (1 - cooldown_fraction)
        w(f) = f, or sqrt(f)

    init_value, peak_value, end_value: any numbers. warmup_steps, decay_steps: in steps
    from the start, as in `warmup_cosine_decay_schedule`. cooldown_fraction: of all
    steps, in [0, 1]; the cooldown begins after the warmup all the same. cooldown:
    "linear", or "1-sqrt", which falls fast and ends flat.

    Raises a ValueError if the cooldown is unknown.

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
        check_steps(self)
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
        return warmed(self, count, fallen(self, curve))


_COOLDOWNS = {"linear": lambda straight: straight, "1-sqrt": square_root}

warmup_stable_decay_schedule = WarmupStableDecaySchedule
