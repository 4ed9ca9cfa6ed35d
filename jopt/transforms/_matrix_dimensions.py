"""The axes of each leaf that are the rows and the columns of its matrices."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import Labels, PyTree, TreePath, checked_class, path_text

NO_MATRIX = "no matrix"  # a label, because None is not a leaf of a tree


@checked_class
@dataclass(frozen=True)
class MuonDimensionNumbers:
    """Say which axes of a weight are the rows and the columns of a matrix.

    All other axes index matrices, each of which is orthogonalized alone. The default is
    that of `x @ w`, as in JAX; PyTorch's weights have rows and columns swapped.

    Args:
      reduction_axis: the inputs, summed over in a product with the weight: an axis or
        several; negative ones count from the end.
      output_axis: the outputs, one for each neuron: an axis or several.
    """

    reduction_axis: int | Sequence[int] = 0
    output_axis: int | Sequence[int] = 1

    def __post_init__(self):
        for name in ("reduction_axis", "output_axis"):
            axes = getattr(self, name)
            axes = axes if isinstance(axes, int) else tuple(axes)
            # A list would make the object unhashable: it is a static value.
            object.__setattr__(self, name, axes)

    def axes(self, shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Return the other axes of `shape`, the reduction axes and the output axes.

        Args:
          shape: shape of the weight.

        Raises:
          ValueError: if an axis does not exist or is given twice, or if there is no
            reduction axis or no output axis.
        """
        rank = len(shape)
        pair = [
            (axes,) if isinstance(axes, int) else tuple(axes)
            for axes in (self.reduction_axis, self.output_axis)
        ]
        both = [axis % rank for axes in pair for axis in axes if -rank <= axis < rank]
        if len(set(both)) < sum(map(len, pair)) or not all(pair):
            raise ValueError(
                f"MuonDimensionNumbers: reduction_axis and output_axis must be axes of "
                f"the shape {tuple(shape)}, at least one each and none twice, got "
                f"{self.reduction_axis} and {self.output_axis}."
            )
        others = tuple(axis for axis in range(rank) if axis not in both)
        return others, tuple(both[: len(pair[0])]), tuple(both[len(pair[0]) :])

    def fans(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return the numbers of inputs and outputs of a weight of this shape.

        Args:
          shape: shape of the weight.
        """
        _, reduction, output = self.axes(shape)
        inputs, outputs = (math.prod(shape[i] for i in a) for a in (reduction, output))
        return inputs, outputs

    def width_scale(self, shape: Sequence[int]) -> float:
        """Return Jordan's factor, which lets one learning rate serve all widths.

            sqrt(max(1, outputs / inputs))

        Args:
          shape: shape of the weight.
        """
        inputs, outputs = self.fans(shape)
        return max(1.0, outputs / max(1, inputs)) ** 0.5


class Dimensions(Labels):
    """`MuonDimensionNumbers`, or None, for each leaf: a tree, or a function of params.

    With `given` None, leaves of two axes are matrices and all others are not.
    """

    noun, tree = "MuonDimensionNumbers or None", "The tree of dimension numbers"

    def __init__(self, given: PyTree | Callable[..., PyTree] | None = None):
        given = _of_two_axes if given is None else given
        super().__init__(_Labelled(given) if callable(given) else _labelled(given))

    def checked(self, words: TreePath, label: object) -> object:
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


def as_dimensions(given: PyTree | Callable[..., PyTree] | None) -> Dimensions | None:
    """Return the dimension numbers as a static value; None stays None.

    None stands for a matrix at each leaf of two axes.
    """
    return given if given is None else Dimensions(given)


def matrices_of(self: Any, updates: PyTree) -> list[MuonDimensionNumbers]:
    """Return `self.weight_dimension_numbers` for each leaf.

    Raises:
      ValueError: if a leaf is not a matrix; the message names `self` and the leaf.
    """
    found = Dimensions(self.weight_dimension_numbers).leaves(updates)
    for label, (path, leaf) in zip(found, tree_leaves_with_path(updates), strict=True):
        if label == NO_MATRIX:
            raise ValueError(
                f"{type(self).__name__}: updates{keystr(path)} of shape {leaf.shape} "
                "is not a matrix; give it MuonDimensionNumbers, or keep it out with "
                "jopt.partition, as jopt.muon does."
            )
    return found


def _of_two_axes(path: str, leaf: jax.Array) -> MuonDimensionNumbers | None:
    return MuonDimensionNumbers() if len(leaf.shape) == 2 else None


def _labelled(tree: PyTree) -> PyTree:
    return jax.tree.map(_label, tree, is_leaf=_is_label)


def _label(leaf: Any) -> object:
    if leaf is None:
        return NO_MATRIX
    if _is_label(leaf):
        return MuonDimensionNumbers(leaf.reduction_axis, leaf.output_axis)
    return leaf


def _is_label(leaf: object) -> bool:
    return leaf is None or hasattr(leaf, "reduction_axis")  # optax has named tuples


@dataclass(frozen=True)
class _Labelled:
    """A user's function whose None, for no matrix, becomes the label `NO_MATRIX`."""

    function: Callable[..., PyTree]

    @property
    def __wrapped__(self) -> Callable[..., PyTree]:
        return self.function  # `Labels` counts the arguments of this one

    def __call__(self, *args: Any) -> PyTree:
        return _labelled(self.function(*args))
