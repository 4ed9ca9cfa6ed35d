"""Units of pruning: coordinates that are kept or pruned together."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jopt.core import abs_sq, argument_error, is_integer, replicated, root, sharded_like


class Unit(ABC):
    """The coordinates of a leaf that are kept or pruned together."""

    @abstractmethod
    def block(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return how many coordinates a unit spans along each axis of a leaf.

        Args:
          shape: the shape of the leaf.

        Returns:
          A divisor of the length of each axis; None if the unit does not fit the leaf.
        """


@dataclasses.dataclass(frozen=True)
class Element(Unit):
    """Keep or prune each coordinate by itself."""

    def block(self, shape):
        return (1,) * len(shape)


@dataclasses.dataclass(frozen=True)
class Block(Unit):
    """Keep or prune whole blocks, in which hardware and libraries store sparse arrays.

    Args:
      shape: the size of a block along the last axes of a leaf. It must divide them.
    """

    shape: tuple[int, ...]

    def __post_init__(self):
        sizes = self.shape
        whole = isinstance(sizes, Sequence) and not isinstance(sizes, str)
        if not whole or not sizes or not all(is_integer(s) and s >= 1 for s in sizes):
            rule = "a tuple of integers of at least 1"
            raise argument_error("Block", "shape", sizes, rule, ValueError)
        object.__setattr__(self, "shape", tuple(map(int, sizes)))

    def block(self, shape):
        inner = len(shape) - len(self.shape)
        if inner < 0 or any(
            n % b for n, b in zip(shape[inner:], self.shape, strict=True)
        ):
            return None
        return (1,) * inner + self.shape


@dataclasses.dataclass(frozen=True)
class Channel(Unit):
    """Keep or prune whole channels: all coordinates of one index along an axis.

    The bias of a pruned channel is another leaf, and stays.

    Args:
      axis: the axis of the channels. In Flax's kernels -1 are the outputs and -2 the
        inputs.
    """

    axis: int = -1

    def __post_init__(self):
        if not is_integer(self.axis):
            raise argument_error("Channel", "axis", self.axis, "an integer", TypeError)

    def block(self, shape):
        if not -len(shape) <= self.axis < len(shape):
            return None
        own = self.axis % len(shape)
        return tuple(1 if i == own else max(n, 1) for i, n in enumerate(shape))


def total(x: jax.Array, unit: Unit) -> jax.Array:
    """Return the sum over each unit of a leaf: an array of units."""
    block = _block(unit, x.shape)
    whole = tuple(i for i, b in enumerate(block) if b == x.shape[i] and b > 1)
    x = jnp.sum(x, axis=whole, keepdims=True)
    block = tuple(1 if i in whole else b for i, b in enumerate(block))
    if max(block, default=1) == 1:
        return x
    pairs = _pairs(x.shape, block)
    return jnp.sum(replicated(x).reshape(pairs), axis=tuple(range(1, len(pairs), 2)))


def norm(x: jax.Array, unit: Unit) -> jax.Array:
    """Return the L2 norm of each unit of a leaf: an array of units."""
    if math.prod(_block(unit, x.shape)) == 1:
        return jnp.abs(x)  # a square could underflow
    return root(total(abs_sq(x), unit))


def spread(units: jax.Array, unit: Unit, like: jax.Array) -> jax.Array:
    """Return an array like a leaf whose coordinates have the value of their unit."""
    block = _block(unit, like.shape)
    if all(b in (1, n) for b, n in zip(block, like.shape, strict=True)):
        return sharded_like(jnp.broadcast_to(units, like.shape), like)
    apart = jnp.expand_dims(replicated(units), tuple(range(1, 2 * len(block), 2)))
    whole = jnp.broadcast_to(apart, _pairs(like.shape, block)).reshape(like.shape)
    return sharded_like(whole, like)


def _block(unit: Unit, shape: tuple[int, ...]) -> tuple[int, ...]:
    block = unit.block(shape)
    assert block is not None, "Competition.leaves has checked that the unit fits"
    return block


def _pairs(shape: tuple[int, ...], block: tuple[int, ...]) -> list[int]:
    """Return the shape with each axis split into its blocks and their length."""
    return [size for n, b in zip(shape, block, strict=True) for size in (n // b, b)]
