"""StableAdamW: Wortsman et al. 2023, Algorithm 2."""

import jax
import numpy as np

from reference.core import as_data, chain
from reference.optimizers.adam import scale_by_adam
from reference.transforms import add_decayed_weights, scale_by_learning_rate


def stable_adamw(
    learning_rate, b1=0.9, b2=0.99, eps=1e-8, weight_decay=1e-2, mask=None
):
    direction = _scale_by_stable_adamw(b1, b2, eps, weight_decay, mask)
    return chain(direction, scale_by_learning_rate(learning_rate))


@as_data
def _scale_by_stable_adamw(b1, b2, eps, weight_decay, mask):
    adamw = chain(scale_by_adam(b1, b2, eps), add_decayed_weights(weight_decay, mask))

    def transformation(grads, params):
        steps, states = adamw(grads, params)

        def clipped(g, d, v):
            axes = tuple(range(1, g.ndim))
            t = np.arange(1, len(g) + 1).reshape(-1, *[1] * (g.ndim - 1))
            square = np.maximum(v / (1 - b2**t), eps**2)
            squares = np.sum(np.abs(g) ** 2 / square, axis=axes, keepdims=True)
            return d / np.maximum(1, np.sqrt(squares / max(g[0].size, 1)))

        return jax.tree.map(clipped, grads, steps, states["nu"]), states

    return transformation
