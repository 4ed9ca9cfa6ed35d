"""The leaves that are compressed, by their paths."""

import jax


def matrices(path: str, leaf: jax.Array) -> bool:
    """Return whether a leaf has at least two axes, as a kernel has and a bias has not.

    Args:
      path: the path of the leaf, such as "layers/0/kernel".
      leaf: an array or its shape.
    """
    return len(leaf.shape) > 1
