"""Optimistic gradients: Mokhtari et al. 2019; of Adam: Daskalakis et al. 2017."""

from reference.core import as_data, chain, leafwise
from reference.optimizers.adam import scale_by_adam
from reference.transforms import scale_by_learning_rate


@as_data
def scale_by_optimistic_gradient(alpha=1.0, beta=1.0):
    def rule(gradients, _):
        before = gradients[0]
        for g in gradients:
            u = (alpha + beta) * g - beta * before
            before = g
            yield u, {"previous_gradient": g}

    return leafwise(rule)


def optimistic_gradient_descent(learning_rate, *args):
    rate = scale_by_learning_rate(learning_rate)
    return chain(scale_by_optimistic_gradient(*args), rate)


def optimistic_adam_v2(learning_rate, *, alpha=1.0, beta=1.0, nesterov=True):
    return chain(
        scale_by_adam(nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )
