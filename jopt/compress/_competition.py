"""The units that compete to be kept: those of all leaves, of a leaf, of a group."""

import dataclasses
import math
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jopt.compress._chosen import alone, chosen
from jopt.compress._masks import smallest
from jopt.compress._units import Unit, spread, total
from jopt.core import (
    Mask,
    PyTree,
    argument_error,
    by_path,
    is_count,
    is_integer,
    path_text,
)


@dataclasses.dataclass(frozen=True)
class Groups:
    """Let the units of each group compete by themselves: N:M sparsity.

    With `Groups(4)` and a sparsity of 1/2 two of each four inputs of an output are
    kept, a pattern that NVIDIA's tensor cores multiply at twice the rate.

    Args:
      size: M, the number of consecutive units in a group, at least 1. It must divide
        the axis.
      axis: the axis along which the units of a group lie. In Flax's kernels -2 are the
        inputs.

    Mishra et al. 2021, https://arxiv.org/abs/2104.08378.
    """

    size: int
    axis: int = -2

    def __post_init__(self):
        if not is_count(self.size):
            rule = "an integer of at least 1"
            raise argument_error("Groups", "size", self.size, rule, ValueError)
        if not is_integer(self.axis):
            raise argument_error("Groups", "axis", self.axis, "an integer", TypeError)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of units of this shape can be divided into groups."""
        inside = -len(shape) <= self.axis < len(shape)
        return inside and shape[self.axis] % self.size == 0

    def split(self, units: jax.Array) -> tuple[jax.Array, int]:
        """Return the units with an axis for the groups, and the axis of each group."""
        own = self.axis % units.ndim
        before, after = units.shape[:own], units.shape[own + 1 :]
        count = units.shape[own] // self.size
        return units.reshape(*before, count, self.size, *after), own + 1


Among: TypeAlias = Literal["all", "leaf"] | Groups


class Competition(NamedTuple):
    """The units that are kept or pruned, and which compete; fields of `Prune`."""

    unit: Unit
    among: Among

    def leaves(self, title: str, where: Mask, params: PyTree) -> Mask:
        """Return which leaves compete.

        Args:
          title: the class named in errors.
          where: which leaves compete.
          params: a tree of arrays or shapes.

        Returns:
          `where` as a tree that fits the params.

        Raises:
          ValueError: if no leaf is chosen, or the unit or the groups do not divide one.
        """
        mask = chosen(title, where, params)
        leaves = by_path(alone(mask, params))
        shapes = {path_text(p): tuple(leaf.shape) for p, leaf in leaves.items()}
        size = sum(map(math.prod, shapes.values()))
        if size >= 2**31:
            raise ValueError(
                f"{title}: where must choose fewer than 2**31 coordinates, which are "
                f"counted in 32 bits, got {size}; prune the parts of a jopt.partition."
            )
        for path, shape in shapes.items():
            block = self.unit.block(shape)
            if block is None:
                raise ValueError(
                    f"{title}: unit must divide each leaf that where chooses, but "
                    f"{self.unit} does not divide {path} of shape {list(shape)}; "
                    "choose another unit, or leave the leaf out by where."
                )
            units = tuple(n // b for n, b in zip(shape, block, strict=True))
            if isinstance(self.among, Groups) and not self.among.fits(units):
                raise ValueError(
                    f"{title}: among must divide each leaf that where chooses, but "
                    f"{self.among} does not divide {path} with units of shape "
                    f"{list(units)}; choose another size or axis, or leave the leaf "
                    "out by where."
                )
        return mask

    def kept(self, scores: PyTree, before: PyTree, sparsity: jax.Array) -> PyTree:
        """Return which coordinates are kept: all but `round(sparsity n)` units of n.

        Args:
          scores: the score of each unit. The smallest are pruned, the first among
            equal ones.
          before: bools like the leaves, the coordinates kept so far. A unit that was
            not kept ranks below all others.
          sparsity: the share that is pruned.

        Returns:
          Bools like `before`.
        """
        masks, structure = jax.tree.flatten(before)
        ranked = [
            jnp.where(total(mask.astype(jnp.float32), self.unit) > 0, score, -jnp.inf)
            for mask, score in zip(masks, jax.tree.leaves(scores), strict=True)
        ]
        if self.among == "all":
            pruned = smallest(ranked, share(sparsity, sum(x.size for x in ranked)))
        elif self.among == "leaf":
            pruned = smallest(ranked, [share(sparsity, x.size) for x in ranked])
        else:
            split = [self.among.split(x) for x in ranked]
            each = [share(sparsity, self.among.size)] * len(ranked)
            groups, axes = [x for x, _ in split], [axis for _, axis in split]
            lines = smallest(groups, each, axes)
            pruned = [m.reshape(x.shape) for m, x in zip(lines, ranked, strict=True)]
        return structure.unflatten(
            spread(~units, self.unit, mask)
            for units, mask in zip(pruned, masks, strict=True)
        )


def share(fraction: jax.Array, size: int) -> jax.Array:
    """Return `round(fraction size)` as an int32 scalar; halves go to the even one."""
    return jnp.round(fraction * size).astype(jnp.int32)
