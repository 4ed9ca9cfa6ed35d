"""ADOPT: Taniguchi et al. 2024, Algorithm 2."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_adopt(
    b1=0.9,
    b2=0.9999,
    eps=1e-6,
    mu_dtype=None,
    *,
    nesterov=False,
    use_clipping=True,
    clip_value_fn=lambda t: t**0.25,
):
    def rule(gradients, _):
        m, v = 0 * gradients[0], np.abs(gradients[0]) ** 2
        yield m, {"mu": m, "nu": v}
        for t, g in enumerate(gradients[1:], 1):
            n = g / np.maximum(np.sqrt(v), eps)
            if use_clipping:
                n = n / np.maximum(1, np.abs(n) / clip_value_fn(t))
            m = b1 * m + (1 - b1) * n
            v = b2 * v + (1 - b2) * np.abs(g) ** 2
            yield b1 * m + (1 - b1) * n if nesterov else m, {"mu": m, "nu": v}

    return leafwise(rule)


def adopt(learning_rate, *args, **kwargs):
    rate = scale_by_learning_rate(learning_rate)
    return chain(scale_by_adopt(*args, **kwargs), rate)
