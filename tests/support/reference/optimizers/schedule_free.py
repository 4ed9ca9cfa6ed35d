"""Schedule-Free: Defazio et al. 2024, Algorithm 1."""

from reference.core import chain
from reference.optimizers.rmsprop import scale_by_rms
from reference.schedules import warmup_constant_schedule
from reference.transforms import add_decayed_weights, identity
from reference.wrappers import schedule_free


def _warmed(learning_rate, warmup_steps):
    if warmup_steps is None:
        return learning_rate
    return warmup_constant_schedule(0.0, learning_rate, warmup_steps)


def schedule_free_sgd(
    learning_rate=1.0, warmup_steps=None, b1=0.9, weight_decay=None, *args, lag=1
):
    decay = identity() if weight_decay is None else add_decayed_weights(weight_decay)
    rate = _warmed(learning_rate, warmup_steps)
    return schedule_free(decay, rate, b1, *args, lag=lag)


def schedule_free_adamw(
    learning_rate=0.0025,
    warmup_steps=None,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    *args,
    lag=1,
):
    rms = scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True)
    direction = chain(rms, add_decayed_weights(weight_decay))
    rate = _warmed(learning_rate, warmup_steps)
    return schedule_free(direction, rate, b1, *args, lag=lag)
