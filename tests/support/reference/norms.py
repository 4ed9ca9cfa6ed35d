"""Norms of leaves and of all: Yong et al. 2020, equation 1, for the centering."""

import jax
import numpy as np

from reference.run import as_data, leafwise


def rms(x):
    return np.linalg.norm(x) / max(x.size, 1) ** 0.5


@as_data
def scale_by_param_block_norm(min_scale=1e-3):
    return scaled_by(lambda p: max(np.linalg.norm(p), min_scale))


@as_data
def scale_by_param_block_rms(min_scale=1e-3):
    return scaled_by(lambda p: max(rms(p), min_scale))


def scaled_by(size):
    def rule(gradients, params):
        return ((size(p) * g, {}) for g, p in zip(gradients, params, strict=True))

    return leafwise(rule)


@as_data
def normalize_by_update_norm(scale_factor=1.0, eps=1e-6):
    def transformation(grads, _):
        leaves = [g.reshape(len(g), -1) for g in jax.tree.leaves(grads)]
        norms = np.linalg.norm(np.concatenate(leaves, axis=1), axis=1)
        factors = scale_factor / (norms + eps)

        def normalized(g):
            return g * factors.reshape(-1, *[1] * (g.ndim - 1))

        return jax.tree.map(normalized, grads), {}

    return transformation


def centralize():
    def centered(g):
        return g - g.mean(tuple(range(1, g.ndim)), keepdims=True)

    return leafwise(
        lambda gradients, _: ((centered(g) if g.ndim > 1 else g, {}) for g in gradients)
    )
