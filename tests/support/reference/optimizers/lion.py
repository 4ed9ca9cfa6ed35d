"""Lion: Chen et al. 2023, Algorithm 2; the smooth and refined signs are optax's."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.optimizers.descent import descent


@as_data
def scale_by_lion(b1=0.9, b2=0.99, *, mode="hard", smooth_beta=1.0):
    signs = {
        "hard": np.sign,
        "smooth": lambda c: np.tanh(smooth_beta * c),
        "refined": lambda c: np.where(np.abs(c) < 1, c, np.sign(c)),
    }

    def rule(gradients, _):
        m = 0
        for g in gradients:
            u = signs[mode](b1 * m + (1 - b1) * g)
            m = b2 * m + (1 - b2) * g
            yield u, {"mu": m}

    return leafwise(rule)


def lion(learning_rate, *args, weight_decay=1e-3, mask=None, decay="rate"):
    direction = scale_by_lion(*args)
    return chain(direction, descent(learning_rate, weight_decay, mask, decay))
