"""`Layout`: which leaves of a tree lie in which vector."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jopt.core._pytree import PyTree


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each leaf of a tree is found: static, compared by value."""

    structure: Any  # of the tree
    shapes: tuple[tuple[int, ...], ...]  # of its leaves
    joined: tuple[tuple[int, ...], ...]  # the leaves that lie in each vector, by number
    alone: tuple[int, ...]  # the other leaves, by number
    shards: int  # a vector's length is a multiple of it
    shown: Any = None  # the tree that a mask leaves of it, and its leaves' numbers

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._fields)

    def __hash__(self) -> int:
        # Every call of a compiled step asks for it.
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Layout)
            and hash(self) == hash(other)
            and self._fields == other._fields
        )

    def __reduce__(self) -> Any:
        # Not the hash: that of a string is another in another process.
        return Layout, self._fields

    @property
    def _fields(self) -> tuple[Any, ...]:
        return (
            self.structure,
            self.shapes,
            self.joined,
            self.alone,
            self.shards,
            self.shown,
        )

    @property
    def numbers(self) -> PyTree:
        """The tree, of its leaves' numbers; without what a mask has hidden."""
        if self.shown is None:
            return self.structure.unflatten(range(len(self.shapes)))
        structure, numbers = self.shown
        return structure.unflatten(numbers)

    def showing(self, numbers: PyTree) -> "Layout":
        """Return this layout with less of the tree: `numbers`, some of them hidden."""
        leaves, structure = jax.tree.flatten(numbers)
        return dataclasses.replace(self, shown=(structure, tuple(leaves)))

    def size(self, leaf: int) -> int:
        """Return how many elements the leaf has."""
        return math.prod(self.shapes[leaf])

    def vector(self, leaves: Mapping[int, Any], numbers: tuple[int, ...]) -> jax.Array:
        """Return one vector of the leaves with these numbers, zeros behind them.

        Further axes in front, trials of a sweep, stay in front.
        """
        flat = [_flat(jnp.asarray(leaves[i]), len(self.shapes[i])) for i in numbers]
        rest = self.length(numbers) - sum(map(self.size, numbers))
        zeros = [jnp.zeros((*flat[0].shape[:-1], rest), flat[0].dtype)] * (rest > 0)
        return jnp.concatenate([*flat, *zeros], axis=-1)

    def length(self, numbers: tuple[int, ...]) -> int:
        """Return how long the vector of the leaves with these numbers is."""
        return -(-sum(map(self.size, numbers)) // self.shards) * self.shards

    def starts(self, numbers: tuple[int, ...]) -> list[int]:
        """Return where in their vector the leaves with these numbers begin."""
        sizes = map(self.size, numbers[:-1])
        return list(itertools.accumulate(sizes, initial=0))


def _flat(x: jax.Array, axes: int) -> jax.Array:
    """Return `x` with its last `axes` axes as one."""
    return x.reshape(*x.shape[: x.ndim - axes], math.prod(x.shape[x.ndim - axes :]))
