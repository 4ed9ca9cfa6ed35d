"""`Augmentation`, the base class of all augmentations, and `Compose`."""

from typing import Any

import jax
import jax.numpy as jnp

from jopt.core import (
    PyTree,
    argument_error,
    dtype_of,
    field,
    pytree,
    standard_promotion,
    wide,
    wide_numbers,
)


class Augmentation:
    """A random change of a batch of images; subclasses are `pytree` classes.

    An augmentation is called with (batch, key) and returns a batch. The batch is
    (inputs, labels). The inputs are images, floats [batch, height, width] or [batch,
    height, width, channels]; the labels stay. Each image is changed by its own random
    numbers. An augmentation computes in at least float32, and the images keep their
    dtype.
    """

    def __call__(self, batch: PyTree, key: jax.Array) -> tuple[jax.Array, PyTree]:
        images, labels = _images(self, batch)
        x = wide(images)
        with standard_promotion():
            # A gray image has one channel.
            whole = x if x.ndim == 4 else x[..., None]
            changed = wide_numbers(self).changed(whole, key)
        return changed.reshape(x.shape).astype(images.dtype), labels

    def changed(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Return the images [batch, height, width, channels], changed."""
        raise NotImplementedError


def _images(augmentation: Augmentation, batch: PyTree) -> tuple[jax.Array, PyTree]:
    title = type(augmentation).__name__
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise argument_error(title, "batch", batch, "(inputs, labels)", TypeError)
    images, labels = batch
    shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
    if shape is None or len(shape) not in (3, 4):
        rule = "images of the shape [batch, height, width] or with channels after them"
        hint = "; reshape flat images, and put them back in shape after it."
        given = type(images).__name__ if shape is None else f"the shape {list(shape)}"
        raise argument_error(title, "inputs", _Words(given), rule, ValueError, hint)
    if not jnp.issubdtype(dtype_of(images), jnp.floating):
        rule = "floats, which can be changed a little"
        raise argument_error(title, "inputs", _Words(dtype), rule, TypeError)
    return jnp.asarray(images), labels


class _Words(str):
    """A value that an error message shows without quotes."""

    __slots__ = ()

    __repr__ = str.__str__


def _as_parts(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


@pytree
class Compose:
    """Apply several augmentations one after the other.

        augment = Compose([Flip(), Shift(2.0), Noise(0.1)])
        batch = augment(batch, key)

    Args:
      parts: callables (batch, key) -> batch, in the order of application; a part's key
        depends on its position.
    """

    parts: Any = field(converter=_as_parts)

    def __post_init__(self):
        if not isinstance(self.parts, tuple) or not all(map(callable, self.parts)):
            rule = "a list of callables (batch, key) -> batch"
            raise argument_error("Compose", "parts", self.parts, rule, TypeError)

    def __call__(self, batch, key):
        for place, part in enumerate(self.parts):
            batch = part(batch, jax.random.fold_in(key, place))
        return batch
