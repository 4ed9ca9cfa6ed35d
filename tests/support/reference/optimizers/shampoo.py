"""Shampoo: Gupta et al. 2018, Algorithm 2; Shi et al. 2023, Algorithm 2."""

import numpy as np

from reference.core import apply, as_data, chain, diagonal, leafwise, moments
from reference.transforms import add_decayed_weights, scale_by_learning_rate


@as_data
def scale_by_shampoo(
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    matrix_eps=1e-6,
    exponent=None,
    precondition_frequency=10,
    graft="adam",
):
    share = 1 if b2 == 1 else 1 - b2

    def power(f, exponent):
        values, basis = np.linalg.eigh(f)
        return (basis * (values + matrix_eps * values[-1]) ** -exponent) @ basis.T

    def rule(gradients, _):
        m = v = 0
        factors = roots = [0] * gradients[0].ndim
        for t, g in enumerate(gradients, 1):
            m, v = b1 * m + (1 - b1) * g, b2 * v + share * abs(g) ** 2
            mean, weight = m / (1 - b1**t), 1 if b2 == 1 else 1 - b2**t
            square = v if graft == "rmsprop" else v / weight
            u = d = mean if graft == "sgd" else mean / (np.sqrt(square) + eps)
            if not diagonal(g):
                e = 1 / (2 * g.ndim) if exponent is None else exponent
                pairs = zip(factors, moments(g), strict=True)
                factors = [b2 * f + share * o for f, o in pairs]
                if t % precondition_frequency == 0:
                    roots = [power(f / weight, e) for f in factors]
                u = apply(mean, roots) if t >= precondition_frequency else d
                if graft != "none":
                    u = u * np.linalg.norm(d) / np.linalg.norm(u)
            yield u, {"mu": m, "nu": v}

    return leafwise(rule)


def shampoo(learning_rate, *args, weight_decay=0.0, mask=None, **kwargs):
    return chain(
        scale_by_shampoo(*args, **kwargs),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
