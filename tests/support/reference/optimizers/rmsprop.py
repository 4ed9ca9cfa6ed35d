"""RMSprop: Tieleman & Hinton 2012, Lecture 6.5; Graves 2013, equations 38 to 41."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import identity, scale_by_learning_rate, trace


@as_data
def scale_by_rms(
    decay=0.9, eps=1e-8, initial_scale=0.0, eps_in_sqrt=True, bias_correction=False
):
    def rule(gradients, _):
        v = initial_scale
        for t, g in enumerate(gradients, 1):
            v = decay * v + (1 - decay) * np.abs(g) ** 2
            square = v / (1 - decay**t) if bias_correction else v
            inside, outside = (eps, 0) if eps_in_sqrt else (0, eps)
            yield g / (np.sqrt(square + inside) + outside), {"nu": v}

    return leafwise(rule)


@as_data
def scale_by_stddev(
    decay=0.9, eps=1e-8, initial_scale=0.0, eps_in_sqrt=True, bias_correction=False
):
    def rule(gradients, _):
        m, v = 0, initial_scale
        for t, g in enumerate(gradients, 1):
            m = decay * m + (1 - decay) * g
            v = decay * v + (1 - decay) * np.abs(g) ** 2
            weight = 1 - decay**t if bias_correction else 1
            variance = v / weight - np.abs(m / weight) ** 2
            inside, outside = (eps, 0) if eps_in_sqrt else (0, eps)
            yield g / (np.sqrt(variance + inside) + outside), {"mu": m, "nu": v}

    return leafwise(rule)


def rmsprop(
    learning_rate, *args, centered=False, momentum=None, nesterov=False, **kwargs
):
    return chain(
        (scale_by_stddev if centered else scale_by_rms)(*args, **kwargs),
        scale_by_learning_rate(learning_rate),
        identity() if momentum is None else trace(momentum, nesterov),
    )
