"""Hide parts of an image: noise, and squares that are cut out."""

import jax
import jax.numpy as jnp

from jopt.core import Number, check, pytree
from jopt.data._augmentation import Augmentation


@pytree
class Noise(Augmentation):
    """Add Gaussian noise to every number of the images.

        x <- x + std z,   z ~ N(0, 1)

    Args:
      std: at least 0, in units of the images.
    """

    std: Number = 0.1

    def __post_init__(self):
        check(self, "std", least=0)

    def changed(self, x, key):
        return x + self.std * jax.random.normal(key, x.shape, x.dtype)


@pytree
class Cutout(Augmentation):
    """Fill a square of each image, at a random place.

    The center of the square is anywhere in the image, so a part of the square may be
    outside. A pixel that the edge of the square cuts is filled in part, so the result
    has a gradient with respect to the size.

    Args:
      size: side of the square, as a share of the image's shorter side, in [0, 1].
      fill: value of the pixels in the square.

    DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552.
    """

    size: Number = 0.25
    fill: Number = 0.0

    def __post_init__(self):
        check(self, "size", least=0, most=1)

    def changed(self, x, key):
        lengths = x.shape[1:3]
        half = self.size * min(lengths) / 2
        drawn = jax.random.uniform(key, (2, len(x), 1), x.dtype)
        rows, columns = (
            _covered(jnp.arange(length, dtype=x.dtype)[None], length * at, half)
            for length, at in zip(lengths, drawn, strict=True)
        )  # [batch, length]
        share = (rows[:, :, None] * columns[:, None, :])[..., None]
        return x + share * (self.fill - x)


def _covered(places: jax.Array, center: jax.Array, half: Number) -> jax.Array:
    """Return the share of each pixel, [n, n + 1], that is within half of the center."""
    start = jnp.maximum(places, center - half)
    end = jnp.minimum(places + 1, center + half)
    return jnp.maximum(0, end - start)
