"""Lion: Chen et al. 2023, Algorithm 2; the smooth and refined signs are optax's."""

import numpy as np

from reference.blocks import add_decayed_weights, scale_by_learning_rate
from reference.run import as_data, chain, leafwise


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


def lion(learning_rate, *args, weight_decay=1e-3, mask=None):
    return chain(
        scale_by_lion(*args),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
