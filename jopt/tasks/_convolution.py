"""A convolution that is fast inside `lax.scan` on a CPU."""

from typing import Any

import jax
import jax.numpy as jnp


def convolve(
    inputs: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """Convolve by nine shifted slices and one matrix product.

    inputs: (batch, height, width, channels). kernel: (rows, columns, channels, out).
    Strides of 1, "SAME" padding; what else Flax's layers pass as `options` is at its
    default. Returns (batch, height, width, out). Give it to a Flax layer as
    `conv_general_dilated=convolve`.

    Inside a loop XLA's CPU backend runs convolutions 10 to 30 times slower than outside
    (https://github.com/jax-ml/jax/issues/12868), and under vmap they become grouped
    convolutions, which are slow everywhere; slices and a product are neither.
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
    """Return the greatest of each 2 by 2 window.

    inputs: (batch, height, width, channels). Returns (batch, height / 2, width / 2,
    channels). A reshape in place of a window reduction, whose gradient is slow on a
    CPU.
    """
    batch, height, width, channels = inputs.shape
    windows = inputs.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return windows.max(axis=(2, 4))


def _around(size: int) -> tuple[int, int]:
    return (size - 1) // 2, size // 2
