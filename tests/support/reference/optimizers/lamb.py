"""LAMB: You et al. 2019, Algorithm 2."""

from reference.core import chain
from reference.optimizers.adam import scale_by_adam
from reference.transforms import (
    add_decayed_weights,
    scale_by_learning_rate,
    scale_by_trust_ratio,
)


def lamb(learning_rate, *args, eps=1e-6, weight_decay=0.0, mask=None):
    return chain(
        scale_by_adam(*args, eps=eps),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )
