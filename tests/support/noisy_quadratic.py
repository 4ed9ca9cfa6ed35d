"""A task whose best rate is known: a quadratic with noisy gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.sweep import Task

SIZE = 8
START, NOISE = 1.0, 0.3


def task(curvature=1.0, name="bowl"):
    """Minimize curvature |w - center|^2 / 2; each example has a center of its own."""
    rng = np.random.default_rng(0)
    centers = (NOISE * rng.normal(size=(64, SIZE))).astype(np.float32)

    def init(key):
        return {"w": START * jax.random.normal(key, (SIZE,))}, {}

    def loss(params, model_state, batch, key):
        gaps = params["w"][None] - batch
        return curvature * jnp.mean(jnp.sum(gaps**2, axis=1)) / 2, model_state

    def evaluate(params, model_state, batch):
        far = curvature * jnp.sum((params["w"] - batch.mean(axis=0)) ** 2) / 2
        return {"loss": jnp.full(len(batch), far) + 1e-3}

    data: dict[str, Any] = {"train": centers, "valid": centers[:4] * 0}
    return Task.from_loss(
        name, init, loss, evaluate, **data, batch_size=4, diverged_above=1e6
    )
