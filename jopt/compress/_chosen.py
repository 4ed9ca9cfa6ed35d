"""The leaves that are compressed: the mask that chooses them, and trees of them."""

from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp

from jopt.core import Mask, PyTree, TreePath, by_path, error_about, listed_paths
from jopt.wrappers import MaskedNode


def matrices(path: str, leaf: jax.Array) -> bool:
    """Return whether a leaf has at least two axes, like a kernel, unlike a bias.

    Args:
      path: the path of the leaf, such as "layers/0/kernel".
      leaf: an array or its shape.
    """
    return len(getattr(leaf, "shape", ())) > 1


def chosen(title: str, where: Mask, params: PyTree, name: str = "the params") -> Mask:
    """Return a mask as a tree that fits the params.

    Args:
      title: the class or function named in errors.
      where: the mask.
      params: a tree of arrays or shapes.
      name: the name of the params in errors.

    Raises:
      ValueError: if the mask chooses none of the leaves.
    """
    mask = where.on(params)
    paths = by_path(params)
    if paths and not any(mask.leaves(params)):
        raise ValueError(
            f"{title}: where must choose at least one leaf of {name}, but it chooses "
            f"none of {listed_paths(paths)}; by default it chooses the leaves with two "
            "axes or more."
        )
    return mask


def chosen_paths(
    title: str, where: PyTree, params: PyTree, name: str = "the params"
) -> list[TreePath]:
    """Return the paths of the leaves that `where` chooses; arguments as of `chosen`."""
    params = jax.tree.map(jnp.asarray, params)  # Python's numbers have no shape
    with error_about(where):
        flags = chosen(title, Mask(where), params, name).leaves(params)
    return [path for path, yes in zip(by_path(params), flags, strict=True) if yes]


def alone(mask: Mask, tree: PyTree) -> PyTree:
    """Return a tree like the params with a masked node for each leaf not chosen."""
    return mask.hide(tree, MaskedNode())


def apart(
    mask: Mask, params: PyTree, groups: Sequence[Hashable]
) -> list[Hashable | None]:
    """Return the groups of leaves that may be joined, without the chosen leaves.

    Args:
      mask: which leaves are chosen.
      params: the params.
      groups: the groups that an inner transformation allows.
    """
    pairs = zip(mask.leaves(params), groups, strict=True)
    return [None if yes else group for yes, group in pairs]


def thawed(mask: Mask, params: PyTree, frozen: Sequence[bool]) -> list[bool]:
    """Return which leaves ignore their own gradient; chosen leaves do not.

    Args:
      mask, params: as in `apart`.
      frozen: which leaves an inner transformation has frozen.
    """
    pairs = zip(mask.leaves(params), frozen, strict=True)
    return [still and not yes for yes, still in pairs]
