"""A warmup, a line from `init_value` to `peak_value`, and a fall or none."""

from jopt.core import Number, Schedule, check, checked, pytree
from jopt.schedules._decay import LinearSchedule
from jopt.schedules._shapes import half_cosine, power
from jopt.schedules._warmup_shapes import check_steps, fallen, warmed, way_down


@pytree
class WarmupCosineDecaySchedule(Schedule):
    """Rise on a line, then fall on half a cosine.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = end_value + (peak_value - end_value) c ** exponent        from there on
        c = (1 + cos(pi min((t - warmup_steps) / (decay_steps - warmup_steps), 1))) / 2

    init_value, peak_value, end_value: any numbers. warmup_steps: in steps, at least 0.
    decay_steps: in steps from the start, warmup included: above `warmup_steps`.
    exponent: above 0.

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
        check_steps(self)
        check(self, "exponent", above=0)

    def __call__(self, count):
        curve = power(half_cosine(way_down(self, count)), self.exponent)
        return warmed(self, count, fallen(self, curve))


@pytree
class WarmupLinearDecaySchedule(Schedule):
    """Rise on a line, then fall on a line.

        s(t) = init_value + (peak_value - init_value) t / warmup_steps   in the warmup
        s(t) = end_value + (peak_value - end_value) (1 - f)              from there on
        f = min((t - warmup_steps) / (decay_steps - warmup_steps), 1)

    Arguments as in `warmup_cosine_decay_schedule`. To 0, the default, this is D2Z.

    Bergsma et al. 2025, https://arxiv.org/abs/2502.15938.
    """

    init_value: Number
    peak_value: Number
    warmup_steps: Number
    decay_steps: Number
    end_value: Number = 0.0

    def __post_init__(self):
        check_steps(self)

    def __call__(self, count):
        return warmed(self, count, fallen(self, way_down(self, count)))


@checked
def warmup_constant_schedule(
    init_value: Number, peak_value: Number, warmup_steps: Number
) -> LinearSchedule:
    """Rise on a line, then stay: `linear_schedule` under optax's name.

        s(t) = init_value + (peak_value - init_value) min(t / warmup_steps, 1)

    init_value, peak_value: any numbers. warmup_steps: in steps; where it is not above
    0, the value stays `init_value`, as in optax.
    """
    return LinearSchedule(init_value, peak_value, warmup_steps)


warmup_cosine_decay_schedule = WarmupCosineDecaySchedule
warmup_linear_decay_schedule = WarmupLinearDecaySchedule
