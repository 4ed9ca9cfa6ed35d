"""Schedule-Free: Defazio et al. 2024, Algorithm 1."""

import jax
import numpy as np

from reference.blocks import add_decayed_weights, identity
from reference.rmsprop import scale_by_rms
from reference.run import as_data, chain, values_at
from reference.schedules import warmup_constant_schedule


@as_data
def schedule_free(base, learning_rate, b1=0.9, weight_lr_power=2.0, *, lag=None):
    def transformation(grads, params):
        steps = len(jax.tree.leaves(grads)[0])
        rates = values_at(learning_rate, steps + 1)
        weights = np.maximum.accumulate(rates[1:]) ** weight_lr_power
        sizes = np.ones(steps) if lag is None else -rates[1 - int(lag) :][:steps]

        def points(d, y):
            increments = sizes.reshape(-1, *[1] * (y.ndim - 1)) * d
            return y[0] + np.cumsum(increments, axis=0)

        def updates(z, y):
            before = np.concatenate([y[:1], z[:-1]])
            for t in range(steps):
                x = (y[t] - (1 - b1) * before[t]) / b1
                c = weights[t] / weights[: t + 1].sum()
                x = (1 - c) * x + c * z[t]
                yield (1 - b1) * z[t] + b1 * x - y[t]

        z = jax.tree.map(points, base(grads, params)[0], params)
        return jax.tree.map(lambda *run: np.stack([*updates(*run)]), z, params), {
            "z": z
        }

    return transformation


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
