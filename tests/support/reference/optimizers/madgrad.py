"""MADGRAD: Defazio & Jelassi 2021, Algorithm 1."""

import numpy as np

from reference.core import as_data, chain, leafwise, values_at
from reference.transforms import add_decayed_weights


@as_data
def scale_by_madgrad(learning_rate, momentum=0.9, eps=1e-6):
    def rule(gradients, params):
        s = v = 0
        rates = values_at(learning_rate, len(gradients))
        for t, (rate, g, p) in enumerate(zip(rates, gradients, params, strict=True)):
            weight = (rate + eps) * np.sqrt(t + 1)
            v, s = v + weight * np.abs(g) ** 2, s + weight * g
            z = params[0] - s / (np.cbrt(v) + eps)
            new = momentum * p + (1 - momentum) * z
            yield new - p, {"grad_sum_sq": v, "s": s}

    return leafwise(rule)


def madgrad(learning_rate, momentum=0.9, weight_decay=0.0, eps=1e-6):
    direction = scale_by_madgrad(learning_rate, momentum, eps)
    return chain(add_decayed_weights(weight_decay), direction)
