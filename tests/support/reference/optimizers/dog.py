"""DoG: Ivgi et al. 2023."""

import numpy as np

from reference.core import as_data, chain, leafwise, together
from reference.transforms import add_decayed_weights, identity, scale_by_learning_rate


def dog(
    learning_rate=1.0,
    init_step=("heuristic", 1e-6),
    eps=1e-8,
    weight_decay=None,
    mask=None,
):
    kind, value = init_step
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        _dog(kind, value, eps),
        scale_by_learning_rate(learning_rate),
    )


@as_data
def _dog(kind, value, eps):
    def rule(gradients, params):
        total = 0
        start = np.linalg.norm(params[0])
        far = {"heuristic": value * (1 + start), "distance": value}.get(kind, 0)
        for t, (g, p) in enumerate(zip(gradients, params, strict=True)):
            far = max(far, np.linalg.norm(p - params[0]))
            total = total + np.linalg.norm(g) ** 2
            rate = far / np.sqrt(total + eps)
            rate = value if kind == "learning_rate" and t == 0 else rate
            yield rate * g, {"max_dist": far, "sum_sq_norm_grads": total}

    return together(rule)


@as_data
def scale_by_distance_over_gradients(reps_rel=1e-6, eps=1e-8, *, global_scale=1.0):
    def rule(gradients, params):
        far, total = reps_rel * (1 + np.linalg.norm(params[0])), 0
        for g, p in zip(gradients, params, strict=True):
            far = max(far, np.linalg.norm(p - params[0]))
            total = total + np.linalg.norm(g) ** 2
            state = {"max_dist": far, "grad_sum_of_squares": total}
            yield global_scale * far / np.sqrt(total + eps) * g, state

    return leafwise(rule)
