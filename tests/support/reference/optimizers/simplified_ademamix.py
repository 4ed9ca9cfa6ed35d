"""Simplified AdEMAMix: Morwani et al. 2025."""

import numpy as np

from reference.core import as_data, chain, leafwise, values_at
from reference.transforms import add_decayed_weights, scale_by_learning_rate


@as_data
def scale_by_simplified_ademamix(b1=0.99, b2=0.95, alpha=0.0, eps=1e-8, eps_root=0.0):
    def rule(gradients, _):
        m = v = 0
        much = values_at(alpha, len(gradients))
        for t, g in enumerate(gradients, 1):
            m = b1 * m + g
            v = b2 * v + (1 - b2) * np.abs(g) ** 2
            scale = np.sqrt(v / (1 - b2**t) + eps_root) + eps
            yield (m + much[t - 1] * g) / scale, {"m": m, "n": v}

    return leafwise(rule)


def simplified_ademamix(learning_rate, *args, weight_decay=0.0, mask=None, **kwargs):
    return chain(
        scale_by_simplified_ademamix(*args, **kwargs),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
