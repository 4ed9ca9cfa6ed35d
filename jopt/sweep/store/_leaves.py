"""The leaves of any tree as plain arrays by name, to be stored, and back."""

from typing import Any

import jax
import numpy as np

from jopt.core import PyTree


def by_name(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of a tree by their places in it."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    # The number, for keystr may give two leaves one name.
    return {f"{i} {jax.tree_util.keystr(p)}": leaf for i, (p, leaf) in enumerate(paths)}


def kind(leaf: Any) -> str:
    """Return a leaf's dtype and shape, `float32[8,2]`; a number's type."""
    if not hasattr(leaf, "dtype"):
        return type(leaf).__name__
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def array(leaf: Any) -> np.ndarray:
    """Return what a leaf holds, a key's words, on the host."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def like(leaf: Any, array: np.ndarray) -> Any:
    """Return what an array holds as a leaf of the type and device of `leaf`."""
    if isinstance(leaf, (bool, int, float)):
        return type(leaf)(array.item())
    if isinstance(leaf, np.ndarray):
        return array
    if isinstance(leaf, np.generic):
        return array[()]
    made: Any = array
    if _is_key(leaf):
        made = jax.random.wrap_key_data(made, impl=jax.random.key_impl(leaf))
    # An array committed to its device where `leaf` is not would need a new program.
    committed = getattr(leaf, "committed", True)
    return jax.device_put(made, leaf.sharding if committed else None)


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(getattr(leaf, "dtype", float), jax.dtypes.prng_key)
