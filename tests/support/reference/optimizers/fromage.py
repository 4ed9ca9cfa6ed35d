"""Fromage: Bernstein et al. 2020, Algorithm 1."""

import numpy as np

from reference.core import as_data, leafwise, values_at


@as_data
def fromage(learning_rate, min_norm=1e-6):
    def rule(gradients, params):
        rates = values_at(learning_rate, len(params))
        for g, p, rate in zip(gradients, params, rates, strict=True):
            size, length = (max(np.linalg.norm(x), min_norm) for x in (p, g))
            yield (p - rate * size / length * g) / np.sqrt(1 + rate**2) - p, {}

    return leafwise(rule)
