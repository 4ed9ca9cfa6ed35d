"""The leaves that are compressed: chosen by a mask, alone in a tree of their own."""

from collections.abc import Hashable, Sequence

import jax
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import Mask, PyTree
from jopt.wrappers import MaskedNode

_MOST_SHOWN = 20


def matrices(path: str, leaf: jax.Array) -> bool:
    """Return whether a leaf has at least two axes, as a kernel has and a bias has not.

    Args:
      path: the path of the leaf, such as "layers/0/kernel".
      leaf: an array or its shape.
    """
    return len(getattr(leaf, "shape", ())) > 1


def chosen(title: str, where: Mask, params: PyTree) -> Mask:
    """Return a mask as a tree that fits the params.

    Args:
      title: the class that errors name.
      where: the mask.
      params: a tree of arrays or shapes.

    Raises:
      ValueError: if the mask chooses none of the leaves.
    """
    mask = where.on(params)
    if not jax.tree.leaves(alone(mask, params)) and (paths := list(by_path(params))):
        more = len(paths) - _MOST_SHOWN
        listed = ", ".join(paths[:_MOST_SHOWN]) + f" and {more} more" * (more > 0)
        raise ValueError(
            f"{title}: where must choose at least one leaf of the params, but it "
            f"chooses none of {listed}; by default it chooses the leaves with two axes "
            "or more."
        )
    return mask


def alone(mask: Mask, tree: PyTree) -> PyTree:
    """Return a tree like the params with a masked node for each leaf not chosen."""
    return mask.hide(tree, MaskedNode())


def by_path(tree: PyTree) -> dict[str, jax.Array]:
    """Return the leaves of a tree by their paths, as errors show them."""
    return {
        keystr(path, simple=True, separator="/") or "the root": leaf
        for path, leaf in tree_leaves_with_path(tree)
    }


def apart(
    mask: Mask, params: PyTree, groups: Sequence[Hashable]
) -> list[Hashable | None]:
    """Return the groups of leaves that may be joined: those chosen stay alone.

    Args:
      mask: which leaves are chosen.
      params: the params.
      groups: the groups that an inner transformation allows.
    """
    pairs = zip(mask.leaves(params), groups, strict=True)
    return [None if yes else group for yes, group in pairs]


def thawed(mask: Mask, params: PyTree, frozen: Sequence[bool]) -> list[bool]:
    """Return which leaves ignore their own gradient, where those chosen do not.

    Args:
      mask, params: as in `apart`.
      frozen: which leaves an inner transformation has frozen.
    """
    pairs = zip(mask.leaves(params), frozen, strict=True)
    return [still and not yes for yes, still in pairs]
