"""Adadelta: Zeiler 2012, Algorithm 1."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import add_decayed_weights, scale_by_learning_rate


@as_data
def scale_by_adadelta(rho=0.9, eps=1e-6):
    def rule(gradients, _):
        squares = steps = 0
        for g in gradients:
            squares = rho * squares + (1 - rho) * np.abs(g) ** 2
            u = np.sqrt(steps + eps) / np.sqrt(squares + eps) * g
            steps = rho * steps + (1 - rho) * np.abs(u) ** 2
            yield u, {"e_g": squares, "e_x": steps}

    return leafwise(rule)


def adadelta(
    learning_rate=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, weight_decay_mask=None
):
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )
