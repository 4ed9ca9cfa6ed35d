"""LARS: You et al. 2017, Algorithm 1."""

import jax

from reference.core import chain
from reference.transforms import (
    add_decayed_weights,
    scale_by_learning_rate,
    scale_by_trust_ratio,
    trace,
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
