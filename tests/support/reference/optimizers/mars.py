"""MARS: Yuan et al. 2024, Algorithm 2."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.optimizers.adam import scale_by_adam
from reference.optimizers.descent import descent


@as_data
def scale_by_mars(b1=0.95, gamma=0.025):
    def rule(gradients, _):
        last = gradients[0]
        for g in gradients:
            c = g + gamma * b1 / (1 - b1) * (g - last)
            yield c / max(1, np.linalg.norm(c)), {"last_grad": g}
            last = g

    return leafwise(rule)


def mars(
    learning_rate,
    b1=0.95,
    b2=0.99,
    eps=1e-8,
    eps_root=0.0,
    weight_decay=0.0,
    mask=None,
    *,
    gamma=0.025,
    decay="rate",
):
    return chain(
        scale_by_mars(b1, gamma),
        scale_by_adam(b1, b2, eps, eps_root),
        descent(learning_rate, weight_decay, mask, decay),
    )
