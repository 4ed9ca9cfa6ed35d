"""Steps as long as the params: LARS, You et al. 2017, Algorithm 1; LAMB, You et al.

2019, Algorithm 2; Fromage, Bernstein et al. 2020, Algorithm 1.
"""

import jax
import numpy as np

from reference.adam import scale_by_adam
from reference.blocks import add_decayed_weights, scale_by_learning_rate
from reference.momentum import trace
from reference.run import as_data, chain, leafwise, values_at


@as_data
def scale_by_trust_ratio(min_norm=0.0, trust_coefficient=1.0, eps=0.0):
    def rule(gradients, params):
        for g, p in zip(gradients, params, strict=True):
            size, length = (max(np.linalg.norm(x), min_norm) for x in (p, g))
            some = size > 0 and length > 0
            yield g * (trust_coefficient * size / (length + eps) if some else 1), {}

    return leafwise(rule)


def lamb(learning_rate, *args, eps=1e-6, weight_decay=0.0, mask=None):
    return chain(
        scale_by_adam(*args, eps=eps),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


def lars(
    learning_rate,
    weight_decay=0.0,
    weight_decay_mask=None,
    trust_coefficient=0.001,
    trust_ratio_mask=None,
    momentum=0.9,
    nesterov=False,
):
    ratio = scale_by_trust_ratio(trust_coefficient=trust_coefficient)

    def scaled(grads, params):
        first = jax.tree.map(lambda p: p[0], params)
        chosen = jax.tree.map(
            lambda p: True if trust_ratio_mask is None else trust_ratio_mask(p), first
        )
        made, _ = ratio(grads, params)
        return jax.tree.map(lambda yes, u, g: u if yes else g, chosen, made, grads), {}

    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scaled,
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


@as_data
def fromage(learning_rate, min_norm=1e-6):
    def rule(gradients, params):
        rates = values_at(learning_rate, len(params))
        for g, p, rate in zip(gradients, params, rates, strict=True):
            size, length = (max(np.linalg.norm(x), min_norm) for x in (p, g))
            yield (p - rate * size / length * g) / np.sqrt(1 + rate**2) - p, {}

    return leafwise(rule)
