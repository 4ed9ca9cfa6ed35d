"""AdaBelief: Zhuang et al. 2020, Algorithm 2."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_belief(b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, *, nesterov=False):
    def rule(gradients, _):
        m = s = 0
        for t, g in enumerate(gradients, 1):
            m = b1 * m + (1 - b1) * g
            s = b2 * s + (1 - b2) * np.abs(g - m) ** 2 + eps_root
            mean = m / (1 - b1**t)
            if nesterov:
                mean = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
            yield mean / (np.sqrt(s / (1 - b2**t)) + eps), {"mu": m, "nu": s}

    return leafwise(rule)


def adabelief(learning_rate, *args, **kwargs):
    rate = scale_by_learning_rate(learning_rate)
    return chain(scale_by_belief(*args, **kwargs), rate)
