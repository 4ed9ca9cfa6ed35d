"""Rprop: Riedmiller & Braun 1993."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import scale


@as_data
def scale_by_rprop(
    learning_rate,
    eta_minus=0.5,
    eta_plus=1.2,
    min_step_size=1e-6,
    max_step_size=50.0,
):
    def rule(gradients, _):
        size, u = np.full_like(gradients[0], learning_rate), 0
        for g in gradients:
            agree = np.sign(g) * np.sign(u)
            longer = np.minimum(size * eta_plus, max_step_size)
            shorter = np.maximum(size * eta_minus, min_step_size)
            size = np.select([agree > 0, agree < 0], [longer, shorter], size)
            u = np.where(agree < 0, 0, size * np.sign(g))
            yield u, {"step_sizes": size, "prev_updates": u}

    return leafwise(rule)


def rprop(*args, **kwargs):
    return chain(scale_by_rprop(*args, **kwargs), scale(-1.0))
