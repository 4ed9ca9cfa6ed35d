"""Leaves by their paths: which are chosen, and what stands in their places."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jopt.core import (
    Mask,
    PyTree,
    TreePath,
    by_path,
    error_about,
    path_text,
    with_paths,
)

_MOST_SHOWN = 20


def chosen_paths(
    title: str, where: PyTree, params: PyTree, name: str = "params"
) -> list[TreePath]:
    """Return the paths of the leaves that `where` chooses.

    Args:
      title: the function that errors name.
      where: what `Mask` takes.
      params: a tree of arrays.
      name: the argument that errors call it.

    Raises:
      ValueError: if there are leaves and none is chosen.
    """
    params = jax.tree.map(jnp.asarray, params)  # Python's numbers have no shape
    with error_about(where):
        flags = Mask(where).leaves(params)
    paths = list(by_path(params))
    chosen = [path for path, yes in zip(paths, flags, strict=True) if yes]
    if paths and not chosen:
        raise ValueError(
            f"{title}: where must choose at least one leaf of {name}, but it chooses "
            f"none of {listed(paths)}; by default it chooses leaves with two axes or "
            "more."
        )
    return chosen


def listed(paths: Iterable[TreePath]) -> str:
    """Return a list of paths for an error, cut after twenty."""
    texts = [path_text(path) for path in paths]
    more = len(texts) - _MOST_SHOWN
    return ", ".join(texts[:_MOST_SHOWN]) + f" and {more} more" * (more > 0)


def replaced(tree: PyTree, leaves: Mapping[TreePath, Any]) -> PyTree:
    """Return a tree with other leaves, or nodes, at some paths."""

    def node(path: TreePath, old: PyTree) -> PyTree:
        # Of a Variable the value is replaced.
        return jax.tree.map(lambda _: leaves[path], old) if path in leaves else old

    return with_paths(node, tree)


def with_leaves(
    function: Callable[[PyTree], PyTree], tree: PyTree, kind: type
) -> PyTree:
    """Return `function` of each leaf of a tree in which nodes of `kind` are leaves."""
    return jax.tree.map(function, tree, is_leaf=lambda node: isinstance(node, kind))
