"""Which axes of a weight are the rows and the columns of a matrix."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jopt.core import checked_class


@checked_class
@dataclass(frozen=True)
class MuonDimensionNumbers:
    """Which axes of a weight are the rows and the columns of a matrix.

    reduction_axis: the inputs, summed over in a product with the weight; output_axis:
    the outputs, one a neuron. Each is an axis or several, negative ones from the end.
    All other axes count matrices, each of which is orthogonalized by itself.

    The default is of `x @ w`, as in JAX; PyTorch's weights have it the other way round.
    """

    reduction_axis: int | Sequence[int] = 0
    output_axis: int | Sequence[int] = 1

    def __post_init__(self):
        for name in ("reduction_axis", "output_axis"):
            axes = getattr(self, name)
            axes = axes if isinstance(axes, int) else tuple(axes)
            object.__setattr__(self, name, axes)

    def axes(self, shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Return the axes of `shape` that are others, reduction and output.

        Raises a ValueError if there is no such axis, or one is both.
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
        """Return how many inputs and outputs a weight of this shape has."""
        _, reduction, output = self.axes(shape)
        inputs, outputs = (math.prod(shape[i] for i in a) for a in (reduction, output))
        return inputs, outputs

    def width_scale(self, shape: Sequence[int]) -> float:
        """Return Jordan's factor, with which one learning rate serves all widths."""
        inputs, outputs = self.fans(shape)
        return max(1.0, outputs / max(1, inputs)) ** 0.5
