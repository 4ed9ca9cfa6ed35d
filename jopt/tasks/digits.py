"""`digits`: 1,797 real images of handwritten digits, 8 by 8, and a small MLP."""

import jax
import numpy as np
from flax import nnx
from sklearn.datasets import load_digits

from jopt.sweep import Task
from jopt.tasks._data import split
from jopt.tasks.classification import nnx_classifier


class MLP(nnx.Module):
    """Two hidden layers of 64."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, 64, rngs=rngs)
        self.second = nnx.Linear(64, 64, rngs=rngs)
        self.last = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits (batch, 10) of flat images (batch, 64)."""
        return self.last(nnx.relu(self.second(nnx.relu(self.first(images)))))


def digits() -> Task:
    """Return the task: scikit-learn's digits, 60 % to train on, 20 % to test."""
    inputs, labels = map(np.asarray, load_digits(return_X_y=True))
    return nnx_classifier("digits", MLP, **split(inputs, labels), epochs=20)
