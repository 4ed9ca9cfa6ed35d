"""Scales, decay and clipping: Pascanu et al. 2012, Algorithm 1, for the norm."""

import jax
import numpy as np

from reference.run import as_data, leafwise, values_at


def identity():
    return leafwise(lambda gradients, _: ((g, {}) for g in gradients))


def set_to_zero():
    return leafwise(lambda gradients, _: ((0 * g, {}) for g in gradients))


@as_data
def scale(step_size):
    return scale_by_schedule(step_size)


@as_data
def scale_by_schedule(step_size_fn):
    def rule(gradients, _):
        rates = values_at(step_size_fn, len(gradients))
        for rate, g in zip(rates, gradients, strict=True):
            yield rate * g, {}

    return leafwise(rule)


@as_data
def scale_by_learning_rate(learning_rate, *, flip_sign=True):
    sign = -1 if flip_sign else 1

    def rule(gradients, _):
        rates = values_at(learning_rate, len(gradients))
        for rate, g in zip(rates, gradients, strict=True):
            yield sign * rate * g, {}

    return leafwise(rule)


@as_data
def add_decayed_weights(weight_decay=0.0, mask=None):
    def transformation(grads, params):
        first = jax.tree.map(lambda p: p[0], params)
        chosen = jax.tree.map(lambda _: True, first) if mask is None else mask(first)

        def decayed(yes, g, p):
            rates = yes * values_at(weight_decay, len(g))
            return g + rates.reshape(-1, *[1] * (g.ndim - 1)) * p

        return jax.tree.map(decayed, chosen, grads, params), {}

    return transformation


@as_data
def clip(max_delta):
    def rule(gradients, _):
        return ((np.clip(g, -max_delta, max_delta), {}) for g in gradients)

    return leafwise(rule)


@as_data
def clip_by_global_norm(max_norm):
    def transformation(grads, _):
        leaves = [g.reshape(len(g), -1) for g in jax.tree.leaves(grads)]
        norms = np.linalg.norm(np.concatenate(leaves, axis=1), axis=1)
        factors = np.minimum(1, max_norm / norms)

        def clipped(g):
            return g * factors.reshape(-1, *[1] * (g.ndim - 1))

        return jax.tree.map(clipped, grads), {}

    return transformation
