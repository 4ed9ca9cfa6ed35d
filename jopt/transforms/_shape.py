"""Scaling of a matrix by its shape."""

from collections.abc import Callable

import jax

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Number,
    PyTree,
    check,
    map_leaves,
    pytree,
    static,
)
from jopt.transforms._matrix_dimensions import as_dimensions, matrices_of


@pytree
class ScaleByShape(GradientTransformation):
    """Scale each matrix by a factor of its shape.

        u = sqrt(max(1, outputs / inputs)) g
        u = consistent_rms sqrt(max(inputs, outputs)) g    if consistent_rms is given

    The first is Jordan's, which lets one learning rate serve all widths. The second,
    with 0.2, is Moonlight's, which lets AdamW's learning rate and weight decay serve.

    Args:
      weight_dimension_numbers: see `orthogonalize`.
      consistent_rms: root mean square of the result if g is orthogonal, at least 0, or
        None.

    Raises:
      ValueError: if a leaf is not a matrix.

    Liu et al. 2025, https://arxiv.org/abs/2502.16982, equation 4.
    """

    weight_dimension_numbers: PyTree | Callable[..., PyTree] | None = static(
        converter=as_dimensions, default=None
    )
    consistent_rms: Number | None = None

    def __post_init__(self):
        check(self, "consistent_rms", least=0)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        leaves, structure = jax.tree.flatten(updates)
        numbers = matrices_of(self, updates)
        made = []
        for leaf, axes in zip(leaves, numbers, strict=True):
            inputs, outputs = axes.fans(leaf.shape)
            size = axes.width_scale(leaf.shape)
            if self.consistent_rms is not None:
                size = self.consistent_rms * max(inputs, outputs) ** 0.5
            made.append(map_leaves(lambda g, size=size: size * g, leaf))
        return structure.unflatten(made), state


scale_by_shape = ScaleByShape
