"""NovoGrad: Ginsburg et al. 2019, Algorithm 1."""

import numpy as np

from reference.core import as_data, chain, leafwise, values_at
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_novograd(b1=0.9, b2=0.25, eps=1e-8, eps_root=0.0, weight_decay=0.0):
    def rule(gradients, params):
        m, v = 0, np.sum(np.abs(gradients[0]) ** 2)
        decays = values_at(weight_decay, len(params))
        for g, p, decay in zip(gradients, params, decays, strict=True):
            v = b2 * v + (1 - b2) * np.sum(np.abs(g) ** 2)
            m = b1 * m + g / (np.sqrt(v + eps_root) + eps) + decay * p
            yield m, {"mu": m, "nu": v}

    return leafwise(rule)


def novograd(learning_rate, b1=0.9, b2=0.25, eps=1e-6, eps_root=0.0, weight_decay=0.0):
    direction = scale_by_novograd(b1, b2, eps, eps_root, weight_decay)
    return chain(direction, scale_by_learning_rate(learning_rate))
