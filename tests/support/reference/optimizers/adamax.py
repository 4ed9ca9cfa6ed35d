"""Adamax: Kingma & Ba 2014, Algorithm 2; the decay of Loshchilov & Hutter 2017."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import add_decayed_weights, scale_by_learning_rate


@as_data
def scale_by_adamax(b1=0.9, b2=0.999, eps=1e-8):
    def rule(gradients, _):
        m = v = 0
        for t, g in enumerate(gradients, 1):
            m = b1 * m + (1 - b1) * g
            v = np.maximum(b2 * v, np.abs(g) + eps)
            yield m / (1 - b1**t) / v, {"mu": m, "nu": v}

    return leafwise(rule)


def adamax(learning_rate, *args):
    return chain(scale_by_adamax(*args), scale_by_learning_rate(learning_rate))


def adamaxw(learning_rate, *args, weight_decay=1e-4, mask=None):
    return chain(
        scale_by_adamax(*args),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
