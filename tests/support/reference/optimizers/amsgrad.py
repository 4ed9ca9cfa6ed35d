"""AMSGrad: Reddi et al. 2018, Algorithm 2, with optax's bias corrections."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_amsgrad(
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    eps_root=0.0,
    *,
    bias_correction_mu=True,
    bias_correction_nu=True,
):
    def rule(gradients, _):
        m = v = top = 0
        for t, g in enumerate(gradients, 1):
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * np.abs(g) ** 2
            mean = m / (1 - b1**t) if bias_correction_mu else m
            top = np.maximum(top, v / (1 - b2**t) if bias_correction_nu else v)
            u = mean / (np.sqrt(top + eps_root) + eps)
            yield u, {"mu": m, "nu": v, "nu_max": top}

    return leafwise(rule)


def amsgrad(learning_rate, *args, **kwargs):
    rate = scale_by_learning_rate(learning_rate)
    return chain(scale_by_amsgrad(*args, **kwargs), rate)
