"""Replacement of leaves."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jopt.core import PyTree, TreePath, with_paths


def replaced(tree: PyTree, leaves: Mapping[TreePath, Any]) -> PyTree:
    """Return a tree with other leaves, or nodes, at some paths."""

    def node(path: TreePath, old: PyTree) -> PyTree:
        # Only the value of a Variable is replaced.
        return jax.tree.map(lambda _: leaves[path], old) if path in leaves else old

    return with_paths(node, tree)


def with_leaves(
    function: Callable[[PyTree], PyTree], tree: PyTree, kind: type
) -> PyTree:
    """Return `function` of each leaf of a tree in which nodes of `kind` are leaves."""
    return jax.tree.map(function, tree, is_leaf=lambda node: isinstance(node, kind))
