"""Adagrad: Duchi et al. 2011, Figure 1, its delta under the root."""

import numpy as np

from reference.core import as_data, chain, leafwise
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_rss(initial_accumulator_value=0.1, eps=1e-7):
    def rule(gradients, _):
        s = initial_accumulator_value
        for g in gradients:
            s = s + np.abs(g) ** 2
            root = np.sqrt(s + eps)
            yield g / np.where(s > 0, root, np.inf), {"sum_of_squares": s}

    return leafwise(rule)


def adagrad(learning_rate, *args, **kwargs):
    return chain(scale_by_rss(*args, **kwargs), scale_by_learning_rate(learning_rate))
