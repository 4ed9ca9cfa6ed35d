"""A convolution that is fast inside `lax.scan` on a CPU."""

from typing import Any

import jax
import jax.numpy as jnp


def convolve(
    inputs: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """Convolve by shifted slices and one matrix product.

        nnx.Conv(1, 32, (3, 3), conv_general_dilated=convolve, rngs=rngs)

    XLA's CPU backend runs a convolution in a loop 10 to 30 times slower than outside
    (https://github.com/jax-ml/jax/issues/12868). Under vmap a convolution becomes a
    grouped one, which is slow on every backend. Slices and a product have neither
    problem.

    Args:
      inputs: (batch, height, width, channels).
      kernel: (rows, columns, channels, out).
      strides: all 1.
      padding: "SAME".
      **options: the other arguments of Flax's layers, which must be at their defaults.

    Returns:
      (batch, height, width, out).

    Raises:
      ValueError: if a stride is not 1, or `padding` is not "SAME".
    """
    if any(stride != 1 for stride in strides) or padding != "SAME":
        raise ValueError(
            "convolve: strides must be 1 and padding 'SAME', got "
            f"{strides} and {padding!r}."
        )
    rows, columns, _, out = kernel.shape
    height, width = inputs.shape[1:3]
    around = [(0, 0), _around(rows), _around(columns), (0, 0)]
    padded = jnp.pad(inputs, around)
    patches = [
        padded[:, i : i + height, j : j + width]
        for i in range(rows)
        for j in range(columns)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, out)


def max_pool(inputs: jax.Array) -> jax.Array:
    """Return the maximum of each 2 by 2 window.

    This is a reshape in place of a window reduction, whose gradient is slow on a CPU.

    Args:
      inputs: (batch, height, width, channels).

    Returns:
      (batch, height / 2, width / 2, channels).
    """
    batch, height, width, channels = inputs.shape
    windows = inputs.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return windows.max(axis=(2, 4))


def _around(size: int) -> tuple[int, int]:
    return (size - 1) // 2, size // 2
