"""Dimension numbers for each leaf of the params, as a static value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import Labels, PyTree, TreePath, path_text
from jopt.transforms._dimensions import MuonDimensionNumbers

NO_MATRIX = "no matrix"  # a label, as None has no place in a tree


class Dimensions(Labels):
    """`MuonDimensionNumbers`, or None, for each leaf: a tree, or a function of params.

    Given None, a leaf of two axes is a matrix, and others are none.
    """

    noun, tree = "MuonDimensionNumbers or None", "The tree of dimension numbers"

    def __init__(self, given: Any = None):
        given = _of_two_axes if given is None else given
        super().__init__(_Labelled(given) if callable(given) else _labelled(given))

    def checked(self, words: TreePath, label: Any) -> Any:
        if label == NO_MATRIX or isinstance(label, MuonDimensionNumbers):
            return label
        raise TypeError(
            f"Dimensions: at {path_text(words)} there must be MuonDimensionNumbers, or "
            f"None where there is no matrix, got {label!r}."
        )

    def groups(self, params: PyTree) -> PyTree:
        """Return a tree like `params`: "muon" where there is a matrix, else "adam"."""
        nodes, structure = self.on(params).nodes(params)
        return structure.unflatten(
            node if label is None else "adam" if label == NO_MATRIX else "muon"
            for label, node in nodes
        )


def as_dimensions(given: Any) -> Dimensions | None:
    """Return the numbers as a static value; None, all leaves of two axes, as it is."""
    return given if given is None else Dimensions(given)


def matrices_of(self: Any, updates: PyTree) -> list[MuonDimensionNumbers]:
    """Return `self.weight_dimension_numbers` for each leaf.

    Raises a ValueError that names `self` and the leaf if one is no matrix.
    """
    found = Dimensions(self.weight_dimension_numbers).leaves(updates)
    for label, (path, leaf) in zip(found, tree_leaves_with_path(updates), strict=True):
        if label == NO_MATRIX:
            raise ValueError(
                f"{type(self).__name__}: updates{keystr(path)} of shape {leaf.shape} "
                "is no matrix; give it MuonDimensionNumbers, or keep it out with "
                "jopt.partition, as jopt.muon does."
            )
    return found


def _of_two_axes(path: str, leaf: Any) -> MuonDimensionNumbers | None:
    return MuonDimensionNumbers() if len(leaf.shape) == 2 else None


def _labelled(tree: PyTree) -> PyTree:
    return jax.tree.map(_label, tree, is_leaf=_is_label)


def _label(leaf: Any) -> Any:
    if leaf is None:
        return NO_MATRIX
    if _is_label(leaf):
        return MuonDimensionNumbers(leaf.reduction_axis, leaf.output_axis)
    return leaf


def _is_label(leaf: Any) -> bool:
    return leaf is None or hasattr(leaf, "reduction_axis")  # optax's are tuples


@dataclass(frozen=True)
class _Labelled:
    """A function of the params that says None where there is no matrix."""

    function: Callable[..., Any]

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.function  # whose arguments are the ones that count

    def __call__(self, *args: Any) -> PyTree:
        return _labelled(self.function(*args))
