"""COCOB: Orabona & Tommasi 2017, Algorithm 2."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import add_decayed_weights, scale_by_learning_rate


@as_data
def scale_by_cocob(alpha=100.0, eps=1e-8):
    def rule(gradients, params):
        start = params[0]
        c, g_sum, r = (np.zeros_like(start) for _ in range(3))
        scale = np.full_like(start, eps)
        for g, p in zip(gradients, params, strict=True):
            scale = np.maximum(scale, np.abs(g))
            g_sum, c = g_sum + np.abs(g), c - g
            r = np.maximum(r - g * (p - start), 0)
            bet = c / (scale * np.maximum(g_sum + scale, alpha * scale)) * (scale + r)
            state = {"cumulative_gradients": c, "scale": scale}
            yield start + bet - p, state | {"subgradients": g_sum, "reward": r}

    return leafwise(rule)


def cocob(learning_rate=1.0, alpha=100.0, eps=1e-8, weight_decay=0.0, mask=None):
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_cocob(alpha, eps),
    )
