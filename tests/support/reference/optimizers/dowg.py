"""DoWG: Khaled et al. 2023."""

import numpy as np

from reference.core import as_data, chain, together
from reference.transforms import add_decayed_weights, identity, scale_by_learning_rate


def dowg(
    learning_rate=1.0, init_estim_sq_dist=None, eps=1e-4, weight_decay=None, mask=None
):
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        _dowg(eps if init_estim_sq_dist is None else init_estim_sq_dist, eps),
        scale_by_learning_rate(learning_rate),
    )


@as_data
def _dowg(far, eps):
    def rule(gradients, params):
        r, v = far, 0
        for g, p in zip(gradients, params, strict=True):
            r = max(r, np.linalg.norm(p - params[0]) ** 2)
            v = v + r * np.linalg.norm(g) ** 2
            state = {"estim_sq_dist": r, "weighted_sq_norm_grads": v}
            yield r / (np.sqrt(v) + eps) * g, state

    return together(rule)
