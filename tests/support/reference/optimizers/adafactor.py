"""Adafactor: Shazeer & Stern 2018, Algorithms 4 and 5."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import (
    add_decayed_weights,
    clip_by_block_rms,
    ema,
    identity,
    scale,
    scale_by_learning_rate,
    scale_by_param_block_rms,
)


def power(step, exponent):
    return 1 - max(step + 1, 1) ** -exponent


@as_data
def scale_by_factored_rms(
    factored=True,
    decay_rate=0.8,
    step_offset=0,
    min_dim_size_to_factor=128,
    epsilon=1e-30,
    decay_rate_fn=power,
):
    def rule(gradients, _):
        shape = gradients.shape[1:]
        long_enough = [n for n in shape if n >= min_dim_size_to_factor]
        split = factored and len(long_enough) > 1
        r = c = np.zeros(1)
        v = np.zeros(1 if split else shape)
        for t, g in enumerate(gradients):
            square, d = (
                np.abs(g) ** 2 + epsilon,
                decay_rate_fn(t - step_offset, decay_rate),
            )
            if split:
                short, long = np.argsort(shape, kind="stable")[-2:]
                r = d * r + (1 - d) * square.mean(long, keepdims=True)
                c = d * c + (1 - d) * square.mean(short, keepdims=True)
                estimate = r * c / r.mean(short, keepdims=True)
                means = {"v_row": r.squeeze(long), "v_col": c.squeeze(short), "v": v}
            else:
                v = d * v + (1 - d) * square
                estimate = v
                means = {"v_row": r, "v_col": c, "v": v}
            yield g / np.sqrt(estimate), means

    return leafwise(rule)


def adafactor(
    learning_rate=1.0,
    min_dim_size_to_factor=128,
    decay_rate=0.8,
    decay_offset=0,
    multiply_by_parameter_scale=True,
    clipping_threshold=1.0,
    momentum=None,
    weight_decay_rate=0.0,
    factored=True,
    weight_decay_mask=None,
):
    return chain(
        scale_by_factored_rms(
            factored, decay_rate, decay_offset, min_dim_size_to_factor
        ),
        identity()
        if clipping_threshold is None
        else clip_by_block_rms(clipping_threshold),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_param_block_rms() if multiply_by_parameter_scale else identity(),
        identity() if momentum is None else ema(momentum, debias=False),
        add_decayed_weights(weight_decay_rate, weight_decay_mask),
        scale(-1),
    )
