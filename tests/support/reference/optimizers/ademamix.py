"""AdEMAMix: Pagliardini et al. 2024, Algorithm 1."""

import numpy as np

from reference.core import as_data, chain, leafwise, values_at
from reference.transforms import add_decayed_weights, scale_by_learning_rate


@as_data
def scale_by_ademamix(
    b1=0.9, b2=0.999, b3=0.9999, alpha=6.0, eps=1e-8, eps_root=0.0, mu_dtype=None
):
    def rule(gradients, _):
        m1 = m2 = v = 0
        slow, much = (values_at(x, len(gradients)) for x in (b3, alpha))
        for t, g in enumerate(gradients, 1):
            m1 = b1 * m1 + (1 - b1) * g
            m2 = slow[t - 1] * m2 + (1 - slow[t - 1]) * g
            v = b2 * v + (1 - b2) * np.abs(g) ** 2
            scale = np.sqrt(v / (1 - b2**t) + eps_root) + eps
            u = (m1 / (1 - b1**t) + much[t - 1] * m2) / scale
            yield u, {"m1": m1, "m2": m2, "nu": v}

    return leafwise(rule)


def ademamix(learning_rate, *args, alpha=5.0, weight_decay=0.0, mask=None, **kwargs):
    return chain(
        scale_by_ademamix(*args, alpha=alpha, **kwargs),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
