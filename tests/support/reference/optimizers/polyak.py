"""Polyak's step size: Loizou et al. 2020, bounded; Garrigos et al. 2023 for "sps+"."""

import jax
import numpy as np

from reference.core import as_data


@as_data
def scale_by_polyak(f_min=0.0, max_learning_rate=1.0, eps=0.0, variant="sps"):
    def transformation(grads, _, *, value):
        gap = np.float32(value) - f_min
        gap = max(gap, 0) if variant == "sps+" else gap
        leaves = [g.reshape(len(g), -1) for g in jax.tree.leaves(grads)]
        squares = np.linalg.norm(np.concatenate(leaves, axis=1), axis=1) ** 2
        steps = np.minimum(gap / (squares + eps), max_learning_rate)

        def scaled(g):
            return g * steps.reshape(-1, *[1] * (g.ndim - 1))

        return jax.tree.map(scaled, grads), {}

    return transformation


@as_data
def polyak_sgd(max_learning_rate=1.0, scaling=1.0, f_min=0.0, eps=0.0, variant="sps"):
    step = scale_by_polyak(f_min, max_learning_rate, eps, variant)

    def transformation(grads, params, *, value):
        updates, state = step(grads, params, value=value)
        return jax.tree.map(lambda u: -scaling * u, updates), state

    return transformation
