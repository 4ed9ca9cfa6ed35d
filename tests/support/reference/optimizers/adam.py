"""Adam: Kingma & Ba 2014, Algorithm 1; Dozat 2016; Loshchilov & Hutter 2017."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.optimizers.descent import descent
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_adam(b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, *, nesterov=False):
    def rule(gradients, _):
        m = v = 0
        for t, g in enumerate(gradients, 1):
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * np.abs(g) ** 2
            mean = m / (1 - b1**t)
            if nesterov:
                mean = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
            square = v / (1 - b2**t)
            yield mean / (np.sqrt(square + eps_root) + eps), {"mu": m, "nu": v}

    return leafwise(rule)


def adam(learning_rate, *args, **kwargs):
    rate = scale_by_learning_rate(learning_rate)
    return chain(scale_by_adam(*args, **kwargs), rate)


def adamw(learning_rate, *args, weight_decay=1e-4, mask=None, decay="rate", **kwargs):
    direction = scale_by_adam(*args, **kwargs)
    return chain(direction, descent(learning_rate, weight_decay, mask, decay))


def nadam(learning_rate, *args, **kwargs):
    return adam(learning_rate, *args, nesterov=True, **kwargs)


def nadamw(learning_rate, *args, **kwargs):
    return adamw(learning_rate, *args, nesterov=True, **kwargs)
