"""`digits`: classify 1,797 images of digits, 8 by 8 pixels, with a small MLP."""

import functools

import jax
import numpy as np
from flax import nnx

from jopt.core import check_argument
from jopt.sweep import Task
from jopt.tasks._classification import nnx_classifier
from jopt.tasks._data import of_sklearn, split

WIDTH = 64  # the default


class MLP(nnx.Module):
    """An MLP with two hidden layers of the same width."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.last = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits (batch, 10) of flat images (batch, 64)."""
        return self.last(nnx.relu(self.second(nnx.relu(self.first(images)))))


def digits(width: int = WIDTH) -> Task:
    """Return the task of classifying scikit-learn's digits with an MLP.

    60 % of the images are for training, 20 % for validation and 20 % for the test.
    Equal calls return the same object.

    Args:
      width: units of each of the two hidden layers, at least 1.

    Raises:
      ValueError: if `width` is below 1.
    """
    check_argument("digits", "width", width, int)
    if width < 1:
        raise ValueError(f"digits: width must be at least 1, got {width}.")
    return _task(width)


@functools.cache
def _task(width: int) -> Task:
    rows = np.loadtxt(of_sklearn("digits.csv.gz"), delimiter=",")
    inputs, labels = rows[:, :-1], rows[:, -1].astype(int)
    mlp = functools.partial(MLP, width)
    source = "jopt.tasks:digits" if width == WIDTH else None
    data = split(inputs, labels)
    return nnx_classifier("digits", mlp, **data, epochs=20, source=source)
