"""Adan: Xie et al. 2022, Algorithm 1, with the bias correction of its code."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import add_decayed_weights, scale_by_learning_rate


@as_data
def scale_by_adan(b1=0.98, b2=0.92, b3=0.99, eps=1e-8, eps_root=0.0):
    def rule(gradients, _):
        m = v = n = 0
        last = gradients[0]
        for t, g in enumerate(gradients, 1):
            change = g - last
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * change
            n = b3 * n + (1 - b3) * np.abs(g + b2 * change) ** 2
            mean = m / (1 - b1**t) + b2 * v / (1 - b2**t)
            root = np.sqrt(n / (1 - b3**t) + eps_root)
            yield mean / (root + eps), {"m": m, "v": v, "n": n, "g": g}
            last = g

    return leafwise(rule)


def adan(learning_rate, *args, eps=1e-8, eps_root=1e-8, weight_decay=0.0, mask=None):
    return chain(
        scale_by_adan(*args, eps=eps, eps_root=eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
