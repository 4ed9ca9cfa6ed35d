"""Schedules, as functions of an array of steps."""

import numpy as np

from reference.core import as_data


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
    def decay(t):
        fraction = (t - warmup_steps) / (decay_steps - warmup_steps)
        cosine = (1 + np.cos(np.pi * np.clip(fraction, 0, 1))) / 2
        return end_value + (peak_value - end_value) * cosine**exponent

    return warmed(init_value, peak_value, warmup_steps, decay)


@as_data
def warmup_linear_decay_schedule(init, peak, warmup_steps, decay_steps, end=0.0):
    def decay(t):
        way = (t - warmup_steps) / (decay_steps - warmup_steps)
        return end + (peak - end) * (1 - np.clip(way, 0, 1))

    return warmed(init, peak, warmup_steps, decay)


@as_data
def warmup_stable_decay_schedule(
    init,
    peak,
    warmup_steps,
    decay_steps,
    end=0.0,
    cooldown_fraction=0.2,
    *,
    cooldown="linear",
):
    def decay(t):
        begin = max(decay_steps * (1 - cooldown_fraction), warmup_steps)
        way = np.clip((t - begin) / (decay_steps - begin), 0, 1)
        return end + (peak - end) * (1 - way ** {"linear": 1, "1-sqrt": 0.5}[cooldown])

    return warmed(init, peak, warmup_steps, decay)


@as_data
def warmup_exponential_decay_schedule(
    init, peak, warmup_steps, steps, rate, begin=0, staircase=False, end_value=None
):
    decay = exponential_decay(peak, steps, rate, begin, staircase, end_value)
    return warmed(init, peak, warmup_steps, lambda t: decay(t - warmup_steps))


@as_data
def inverse_sqrt_schedule(init, peak, warmup_steps):
    def decay(t):
        return peak * np.sqrt(warmup_steps / np.maximum(t, 1))

    return warmed(init, peak, warmup_steps, decay)


def warmup_constant_schedule(init_value, peak_value, warmup_steps):
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmed(init_value, peak_value, warmup_steps, decay):
    def schedule(t):
        rising = init_value + (peak_value - init_value) * t / max(warmup_steps, 1)
        return np.where(t < warmup_steps, rising, decay(t))

    return schedule


@as_data
def piecewise_interpolate_schedule(interpolate_type, init_value, pieces=None):
    pairs = sorted((pieces or {}).items())
    boundaries = [0.0, *(float(b) for b, _ in pairs)]
    values = init_value * np.cumprod([1.0, *(float(np.float32(s)) for _, s in pairs)])

    def schedule(t):
        if interpolate_type == "linear":
            return np.interp(t, boundaries, values)
        i = np.clip(np.searchsorted(boundaries, t, "right"), 1, len(boundaries)) - 1
        lasts = np.minimum(i + 1, len(boundaries) - 1)
        left, size = (
            np.take(boundaries, i),
            np.take(np.diff(boundaries, append=np.inf), i),
        )
        cosine = (1 - np.cos(np.pi * (t - left) / size)) / 2
        return values[i] + (values[lasts] - values[i]) * cosine

    return schedule


@as_data
def linear_onecycle_schedule(steps, peak, start=0.3, final=0.85, div=25.0, end=1e4):
    turns = [0, np.floor(start * steps), np.floor(final * steps), steps]
    return lambda t: np.interp(t, turns, peak / np.array([div, 1, div, div * end]))


@as_data
def cosine_onecycle_schedule(steps, peak, start=0.3, div=25.0, end=1e4):
    def schedule(t):
        turn = np.floor(start * steps)
        up = (1 - np.cos(np.pi * np.clip(t / turn, 0, 1))) / 2
        down = (1 + np.cos(np.pi * np.clip((t - turn) / (steps - turn), 0, 1))) / 2
        low, last = peak / div, peak / div / end
        return np.where(t < turn, low + (peak - low) * up, last + (peak - last) * down)

    return schedule


def sgdr_schedule(cosine_kwargs):
    cycles = [warmup_cosine_decay_schedule(**kwargs) for kwargs in cosine_kwargs]
    lengths = [kwargs["decay_steps"] for kwargs in cosine_kwargs]
    return join_schedules(cycles, np.cumsum(lengths)[:-1])


def join_schedules(schedules, boundaries):
    def schedule(t):
        value = schedules[0](t)
        for boundary, after in zip(boundaries, schedules[1:], strict=True):
            value = np.where(t >= boundary, after(t - boundary), value)
        return value

    return schedule
