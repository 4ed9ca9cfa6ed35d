"""SM3: Anil et al. 2019, Algorithm SM3-II, and a running mean of its updates."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_sm3(b1=0.9, b2=1.0, eps=1e-8):
    def rule(gradients, _):
        axes = range(max(gradients[0].ndim, 1))
        others = [tuple(set(range(gradients[0].ndim)) - {i}) for i in axes]
        greatest, m = [np.zeros(()) for _ in axes], 0
        for g in gradients:
            least = np.broadcast_arrays(*greatest, g.real)[:-1]
            s = b2 * np.min(least, axis=0) + (1 if b2 == 1 else 1 - b2) * np.abs(g) ** 2
            greatest = [s.max(axes, keepdims=True, initial=0) for axes in others]
            m = b1 * m + (1 - b1) * g / np.where(s > 0, np.sqrt(s + eps), np.inf)
            yield m, {"nu": m}

    return leafwise(rule)


def sm3(learning_rate, momentum=0.9):
    return chain(scale_by_sm3(momentum), scale_by_learning_rate(learning_rate))
