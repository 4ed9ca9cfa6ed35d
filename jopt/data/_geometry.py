"""Move the pixels of images: flips, shifts, zooms, crops and rotations.

All but the flip interpolate linearly between pixels. They use products with weights
instead of gathers, so that many strengths at once are cheap. `fill` is the value of
pixels from outside of the image.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from jopt.core import Number, check, pytree, static
from jopt.data._augmentation import Augmentation

STEEPEST = 45.0  # greatest angle of `Rotate`, in degrees


@pytree
class Flip(Augmentation):
    """Flip some of the images.

        x[i, j] <- x[i, width - 1 - j] with the probability, else x[i, j]

    Args:
      probability: probability of a flip, in [0, 1]. Its gradient is 0.
      axis: "horizontal" swaps left and right, "vertical" top and bottom; static.
    """

    probability: Number = 0.5
    axis: Literal["horizontal", "vertical"] = static(default="horizontal")

    def __post_init__(self):
        check(self, "probability", least=0, most=1)

    def changed(self, x, key):
        drawn = jax.random.uniform(key, (len(x), 1, 1, 1), x.dtype) < self.probability
        flipped = jnp.flip(x, 2 if self.axis == "horizontal" else 1)
        return jnp.where(drawn, flipped, x)


@pytree
class Shift(Augmentation):
    """Move each image by a random number of pixels, which need not be whole.

        x[i, j] <- x[i - a, j - b],   a and b uniform in [-most, most]

    Args:
      most: greatest shift in pixels, at least 0.
      fill: value of the pixels from outside.
    """

    most: Number = 2.0
    fill: Number = 0.0

    def __post_init__(self):
        check(self, "most", least=0)

    def changed(self, x, key):
        moves = self.most * _symmetric(key, (2, len(x), 1), x.dtype)
        rows, columns = (_grid(x, axis) - moves[axis] for axis in (0, 1))
        return _resampled(x, rows, columns, self.fill)


@pytree
class Zoom(Augmentation):
    """Make each image larger or smaller about its center.

        x[i, j] <- x[c + (i - c) / s, d + (j - d) / s],   center (c, d)
        log s uniform in [-log(1 + most), log(1 + most)]

    Args:
      most: at least 0; at 0.1 an image becomes at most 1.1 times and at least 1 / 1.1
        times as large.
      fill: value of the pixels from outside.
    """

    most: Number = 0.1
    fill: Number = 0.0

    def __post_init__(self):
        check(self, "most", least=0)

    def changed(self, x, key):
        powers = _symmetric(key, (len(x), 1), x.dtype)
        inverse = jnp.exp(-powers * jnp.log1p(self.most))
        rows, columns = (
            _center(x, axis) + (_grid(x, axis) - _center(x, axis)) * inverse
            for axis in (0, 1)
        )
        return _resampled(x, rows, columns, self.fill)


@pytree
class Crop(Augmentation):
    """Enlarge a random part of each image to the size of the image.

        x[i, j] <- x[a + s (i - c), b + s (j - d)],   center (c, d)
        s uniform in [least, 1], and (a, b) where the part is within the image

    For a crop after padding, as is usual with CIFAR-10, use `Shift`.

    Args:
      least: the smallest side of a part, as a share of the image's, above 0, at most 1.
    """

    least: Number = 0.8

    def __post_init__(self):
        check(self, "least", above=0, most=1)

    def changed(self, x, key):
        size_key, place_key = jax.random.split(key)
        drawn = jax.random.uniform(size_key, (len(x), 1), x.dtype)
        sides = self.least + (1 - self.least) * drawn
        places = _symmetric(place_key, (2, len(x), 1), x.dtype)
        rows, columns = (
            _center(x, axis) * (1 + (1 - sides) * places[axis])
            + (_grid(x, axis) - _center(x, axis)) * sides
            for axis in (0, 1)
        )
        return _resampled(x, rows, columns, 0.0)


@pytree
class Rotate(Augmentation):
    """Turn each image about its center, by three shears.

        R(a) = [1 -tan(a / 2)] [1     0] [1 -tan(a / 2)]
               [0           1] [sin(a) 1] [0           1]
        a uniform in [-most, most]

    Each shear interpolates along one axis, so the image is a little smoother than one
    that is interpolated once. The work grows with the third power of an image's side:
    above about 100 pixels on a CPU, use dm-pix's `rotate`.

    Args:
      most: greatest angle in degrees, in [0, 45].
      fill: value of the pixels from outside.

    Paeth 1986, "A fast algorithm for general raster rotation".
    """

    most: Number = 15.0
    fill: Number = 0.0

    def __post_init__(self):
        check(self, "most", least=0, most=STEEPEST)

    def changed(self, x, key):
        most = jnp.minimum(self.most, STEEPEST) * (math.pi / 180)
        angles = most * _symmetric(key, (len(x),), x.dtype)
        return self.fill + _rotated(x - self.fill, angles)


def _symmetric(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1, 1)


def _center(x: jax.Array, axis: int) -> float:
    return (x.shape[1 + axis] - 1) / 2


def _grid(x: jax.Array, axis: int) -> jax.Array:
    """Return the positions of the rows (axis 0) or columns (axis 1), [1, positions]."""
    return jnp.arange(x.shape[1 + axis], dtype=x.dtype)[None]


def _resampled(
    x: jax.Array, rows: jax.Array, columns: jax.Array, fill: Number
) -> jax.Array:
    """Return the images sampled at rows and columns, each [batch, positions]."""
    weights = [
        _hat(at[..., None] - _grid(x, axis)[None])
        for axis, at in enumerate((rows, columns))
    ]
    picked = jnp.einsum(
        "bri,bsj,bijc->brsc", *weights, x - fill, precision="highest", optimize=True
    )
    return fill + picked


def _rotated(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Return the images turned by angles in radians, float[batch]; zeros pad them."""
    _, height, width, _ = x.shape
    steepest = math.radians(STEEPEST)
    wider = math.ceil((height - 1) / 2 * math.tan(steepest / 2))
    frame = width + 2 * wider
    higher = math.ceil((frame - 1) / 2 * math.sin(steepest))
    places = jnp.arange(height, dtype=x.dtype)[:, None] - (height - 1) / 2
    first = -places * jnp.tan(angles / 2)[None]  # [height, batch]
    places = jnp.arange(frame, dtype=x.dtype)[:, None] - (frame - 1) / 2
    second = places * jnp.sin(angles)[None]  # [frame, batch]
    # Put the batch last, for vector units: [height, width, channels, batch].
    x = jnp.transpose(x, (1, 2, 3, 0))
    x = jnp.pad(x, ((0, 0), (wider, wider), (0, 0), (0, 0)))
    x = _moved(x, first, wider)
    x = jnp.swapaxes(_moved(jnp.swapaxes(x, 0, 1), second, higher), 0, 1)
    x = _moved(x, first, wider)[:, wider : wider + width]
    # Without a barrier, XLA would compute the last sum across the images.
    x = jax.lax.optimization_barrier(x)
    return jnp.transpose(x, (3, 0, 1, 2))


def _moved(x: jax.Array, by: jax.Array, most: int) -> jax.Array:
    """Shift lines of pixels by linear interpolation, padded with zeros.

        y[n] = sum over t in [-most, most] of hat(by - t) x[n - t]

    Args:
      x: [lines, length, channels, batch].
      by: shift in pixels, [lines, batch], within `most`.
      most: static.
    """
    length = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (most, most), (0, 0), (0, 0)))
    moved = jnp.zeros_like(x)
    for t in range(-most, most + 1):
        weights = _hat(by - t)[:, None, None]  # [lines, 1, 1, batch]
        moved += weights * padded[:, most - t : most - t + length]
    return moved


def _hat(distance: jax.Array) -> jax.Array:
    """Return the weight of a pixel at a distance, in linear interpolation."""
    return jnp.maximum(0, 1 - jnp.abs(distance))
