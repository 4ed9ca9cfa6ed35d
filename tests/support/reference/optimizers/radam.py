"""Rectified Adam: Liu et al. 2019, Algorithm 2; Nesterov's guess as in Adam."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_radam(
    b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, threshold=5.0, *, nesterov=False
):
    most = 2 / (1 - b2) - 1

    def rule(gradients, _):
        m = v = 0
        for t, g in enumerate(gradients, 1):
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * np.abs(g) ** 2
            u = m / (1 - b1**t)
            if nesterov:
                u = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
            s = most - 2 * t * b2**t / (1 - b2**t)
            if s >= threshold:
                r = (s - 4) * (s - 2) * most / ((most - 4) * (most - 2) * s)
                u = np.sqrt(r) * u / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)
            yield u, {"mu": m, "nu": v}

    return leafwise(rule)


def radam(learning_rate, *args, **kwargs):
    rate = scale_by_learning_rate(learning_rate)
    return chain(scale_by_radam(*args, **kwargs), rate)
