"""Schedules, as functions of an array of steps."""

import numpy as np

from reference.run import as_data


@as_data
def constant_schedule(value):
    return lambda t: np.full(np.shape(t), value)


@as_data
def polynomial_schedule(init_value, end_value, power, steps, begin=0):
    def schedule(t):
        past = np.maximum(t - max(begin, 0), 0)
        fraction = np.minimum(past / steps, 1) if steps > 0 else 0 * past
        return end_value + (init_value - end_value) * (1 - fraction) ** power

    return schedule


def linear_schedule(init_value, end_value, steps, begin=0):
    return polynomial_schedule(init_value, end_value, 1, steps, begin)


@as_data
def exponential_decay(
    init_value, steps, rate, begin=0, staircase=False, end_value=None
):
    def schedule(t):
        if steps <= 0 or rate == 0:
            return np.full(np.shape(t), init_value)
        past = np.maximum(t - max(begin, 0), 0) / steps
        value = init_value * rate ** (np.floor(past) if staircase else past)
        if end_value is None:
            return value
        return (np.maximum if rate < 1 else np.minimum)(value, end_value)

    return schedule


@as_data
def piecewise_constant_schedule(init_value, scales=None):
    def schedule(t):
        value = np.full(np.shape(t), init_value)
        for boundary, scale in (scales or {}).items():
            value = value * np.where(t >= boundary, float(np.float32(scale)), 1)
        return value

    return schedule


@as_data
def cosine_decay_schedule(init_value, decay_steps, alpha=0.0, exponent=1.0):
    def schedule(t):
        cosine = (1 + np.cos(np.pi * np.minimum(t / decay_steps, 1))) / 2
        return init_value * ((1 - alpha) * cosine**exponent + alpha)

    return schedule


@as_data
def warmup_cosine_decay_schedule(
    init_value, peak_value, warmup_steps, decay_steps, end_value=0.0, exponent=1.0
):
    def schedule(t):
        rising = init_value + (peak_value - init_value) * t / max(warmup_steps, 1)
        fraction = (t - warmup_steps) / (decay_steps - warmup_steps)
        cosine = (1 + np.cos(np.pi * np.clip(fraction, 0, 1))) / 2
        falling = end_value + (peak_value - end_value) * cosine**exponent
        return np.where(t < warmup_steps, rising, falling)

    return schedule


def join_schedules(schedules, boundaries):
    def schedule(t):
        value = schedules[0](t)
        for boundary, after in zip(boundaries, schedules[1:], strict=True):
            value = np.where(t >= boundary, after(t - boundary), value)
        return value

    return schedule
