"""Yogi: Zaheer et al. 2018, Algorithm 2."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_yogi(
    b1=0.9, b2=0.999, eps=1e-3, eps_root=0.0, initial_accumulator_value=1e-6
):
    def rule(gradients, _):
        m = v = initial_accumulator_value
        for t, g in enumerate(gradients, 1):
            square = np.abs(g) ** 2
            m = b1 * m + (1 - b1) * g
            v = v - (1 - b2) * np.sign(v - square) * square
            root = np.sqrt(v / (1 - b2**t) + eps_root)
            yield m / (1 - b1**t) / (root + eps), {"mu": m, "nu": v}

    return leafwise(rule)


def yogi(learning_rate, *args):
    return chain(scale_by_yogi(*args), scale_by_learning_rate(learning_rate))
