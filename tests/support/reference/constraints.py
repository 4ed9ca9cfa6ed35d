"""Clips by block and unit, constraints, sums: from their one-line definitions."""

import jax
import numpy as np

from reference.run import as_data, leafwise, values_at


@as_data
def clip_by_block_rms(threshold):
    def rule(gradients, _):
        for g in gradients:
            rms = np.sqrt(np.mean(np.abs(g) ** 2)) if g.size else 0
            yield g if rms <= threshold else g * threshold / rms, {}

    return leafwise(rule)


@as_data
def adaptive_grad_clip(clipping, eps=1e-3, axis=None):
    def norm(x):
        inner = axis
        if axis is None and x.squeeze().ndim > 1:
            inner = 0 if x.ndim < 4 else tuple(range(x.ndim - 1))
        return np.sqrt(np.sum(np.abs(x) ** 2, axis=inner, keepdims=True))

    def rule(gradients, params):
        for g, p in zip(gradients, params, strict=True):
            most, size = clipping * np.maximum(norm(p), eps), norm(g)
            yield g * np.where(size > most, most / np.maximum(size, 1e-6), 1), {}

    return leafwise(rule)


def keep_params_nonnegative():
    return leafwise(
        lambda gradients, params: (
            (np.maximum(p + g, 0) - p, {})
            for g, p in zip(gradients, params, strict=True)
        )
    )


def zero_nans():
    return leafwise(
        lambda gradients, _: ((np.where(np.isnan(g), 0, g), {}) for g in gradients)
    )


@as_data
def proximal_l1(strength, learning_rate):
    def rule(gradients, params):
        rates = values_at(learning_rate, len(gradients))
        for rate, g, p in zip(rates, gradients, params, strict=True):
            q = p + g
            size = np.abs(q)
            yield np.sign(q) * np.maximum(size - rate * strength, 0) - p, {}

    return leafwise(rule)


@as_data
def add_l1_subgradient(strength):
    return leafwise(
        lambda gradients, params: (
            (g + strength * np.sign(p), {})
            for g, p in zip(gradients, params, strict=True)
        )
    )


def apply_every(k=1):
    def rule(gradients, _):
        for t in range(len(gradients)):
            first = t - t % k
            total = np.sum(gradients[first : t + 1], axis=0)
            yield (total if t % k == k - 1 else 0 * total), {"grad_acc": total}

    return leafwise(rule)


def stateless(f):
    return lambda grads, params: (f(grads, params), {})


def stateless_with_tree_map(f):
    return lambda grads, params: (jax.tree.map(f, grads, params), {})
