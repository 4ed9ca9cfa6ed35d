"""Stacks: leaves cut into blocks, and blocks of one shape stacked for `vmap`."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core._explicit_sharding import replicated, sharded_like
from jopt.core._leaves import leaves_like, stored
from jopt.core._numbers import dtype_of, standard_promotion, wide, wide_dtype
from jopt.core._pytree import PyTree


class Blocking(NamedTuple):
    """How a leaf is cut into blocks, and which axes of a block have a matrix."""

    laid: tuple[int, ...]  # the leaf's shape, perhaps with axes merged
    block: tuple[int, ...]  # the shape of a block
    axes: tuple[int, ...]  # the axes of a block that have a matrix


def map_stacks(
    rule: Callable[..., tuple[PyTree, ...]],
    cut: Callable[[jax.Array], Blocking],
    trees: Sequence[PyTree],
    held: Sequence[dict[str, PyTree]],
) -> tuple[PyTree, ...]:
    """Apply `rule` to each block of the leaves of `trees`.

    `vmap` maps the rule over all blocks of one shape, across leaves, so the size of the
    program grows only with the number of shapes. Matrices are multiplied in full
    precision. Leaves that are sharded over an explicit mesh are replicated for the
    rule, and their new values are sharded again.

    Args:
      rule: `rule(axes, *blocks, *kept)` gets the axes that have a matrix, a block of
        each tree in at least float32, and the state of the block from each of `held`.
        It returns their new values in order.
      cut: returns the `Blocking` of a leaf.
      trees: trees of one structure.
      held: states by shape of block, from `init_stacks`.

    Returns:
      The new trees, with the dtypes of the old ones, and then the new states.

    Raises:
      ValueError: if `held` was made for leaves of other shapes.
    """
    first, structure = jax.tree.flatten(trees[0])
    columns = [first, *(leaves_like(trees[0], tree) for tree in trees[1:])]
    cuts = [cut(leaf) for leaf in first]
    grown: list[list[PyTree]] = [[None] * len(first) for _ in trees]
    kept: list[dict[str, PyTree]] = [{} for _ in held]
    groups = _by_key(first, cuts)
    if any(set(part) != set(groups) for part in held):
        had, has = (", ".join(sorted(d)) or "no leaves" for d in (held[0], groups))
        raise ValueError(
            f"The state has matrices for {had}, but the gradients are {has}; give "
            "gradients of the shapes of the params that init was given."
        )
    for key, rows in groups.items():
        stacks = [
            jnp.concatenate(
                [_blocks(replicated(wide(column[i])), cuts[i]) for i in rows]
            )
            for column in columns
        ]
        whole = jax.vmap(functools.partial(rule, cuts[rows[0]].axes))
        with standard_promotion(), jax.default_matmul_precision("highest"):
            made = whole(*stacks, *(part[key] for part in held))
        ends = np.cumsum([_count(cuts[i]) for i in rows]).tolist()
        for leaves, column, stack in zip(grown, columns, made, strict=False):
            for i, piece in zip(rows, jnp.split(stack, ends[:-1]), strict=True):
                joined = _joined(piece, cuts[i]).reshape(np.shape(first[i]))
                joined = joined.astype(dtype_of(column[i]))
                leaves[i] = sharded_like(joined, column[i])
        for part, old, new in zip(kept, held, made[len(trees) :], strict=True):
            part[key] = stored(new, old[key])
    return *(structure.unflatten(leaves) for leaves in grown), *kept


def init_stacks(
    make: Callable[[int, Blocking, Any], Any],
    cut: Callable[[Any], Blocking],
    params: PyTree,
) -> dict[str, Any]:
    """Return a state for `map_stacks`: a dict by shape of block.

    Args:
      make: `make(n, cut, dtype)` returns the state of n blocks, stacked on axis 0.
      cut: returns the `Blocking` of a leaf.
      params: a tree of arrays or shapes.
    """
    leaves = jax.tree.leaves(params)
    cuts = [cut(leaf) for leaf in leaves]
    return {
        key: make(
            sum(_count(cuts[i]) for i in rows),
            cuts[rows[0]],
            jnp.finfo(wide_dtype(leaves[rows[0]])).dtype,
        )
        for key, rows in _by_key(leaves, cuts).items()
    }


def stacked_identities(count: int, cut: Blocking, dtype: Any) -> tuple[jax.Array, ...]:
    """Return `count` identities for each axis with a matrix; see `init_stacks`.

    Args:
      count: blocks in the stack.
      cut: how the leaves are cut into blocks.
      dtype: of the result.
    """
    sizes = [cut.block[axis] for axis in cut.axes]
    return tuple(jnp.tile(jnp.eye(d, dtype=dtype), (count, 1, 1)) for d in sizes)


def stacked_zeros(count: int, cut: Blocking, dtype: Any) -> tuple[jax.Array, ...]:
    """Return `count` zero matrices for each axis with one; see `init_stacks`.

    Args:
      count: blocks in the stack.
      cut: how the leaves are cut into blocks.
      dtype: of the result.
    """
    return tuple(jnp.zeros_like(one) for one in stacked_identities(count, cut, dtype))


def merge_axes(shape: Sequence[int], limit: int) -> tuple[int, ...]:
    """Return `shape` with neighbouring axes merged up to a product of `limit`.

    Args:
      shape: the shape of an array.
      limit: the greatest length of a merged axis.
    """
    sizes = [1]
    for size in shape:
        if sizes[-1] * size <= limit:
            sizes[-1] *= size
        else:
            sizes.append(size)
    return tuple(size for size in sizes if size > 1) or (1,)


def even_blocks(shape: Sequence[int], limit: int) -> tuple[int, ...]:
    """Return the shape of the fewest equal blocks, each axis at most `limit`.

    Args:
      shape: the shape of an array.
      limit: the greatest length of a block's axis.
    """
    return tuple(math.ceil(size / max(1, math.ceil(size / limit))) for size in shape)


def _by_key(leaves: Sequence[PyTree], cuts: Sequence[Blocking]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for i, (leaf, (_, block, axes)) in enumerate(zip(leaves, cuts, strict=True)):
        name = f"{wide_dtype(leaf)}{list(block)}"
        marks = f" axes {', '.join(map(str, axes))}" if axes else ""
        groups.setdefault(name + marks, []).append(i)
    return groups


def _counts(cut: Blocking) -> list[int]:
    sizes = zip(cut.laid, cut.block, strict=True)
    return [math.ceil(size / max(1, part)) or 1 for size, part in sizes]


def _count(cut: Blocking) -> int:
    return math.prod(_counts(cut))


def _blocks(x: jax.Array, cut: Blocking) -> jax.Array:
    """Cut a leaf into blocks, stacked on axis 0; pad the last ones with zeros."""
    if cut.block == cut.laid:
        return x.reshape(1, *cut.laid)
    pairs = list(zip(_counts(cut), cut.block, strict=True))
    beyond = [(0, n * b - d) for (n, b), d in zip(pairs, cut.laid, strict=True)]
    x = jnp.pad(x.reshape(cut.laid), beyond)
    x = x.reshape([size for pair in pairs for size in pair])
    which = range(0, x.ndim, 2)
    x = x.transpose(*which, *(i + 1 for i in which))
    return x.reshape(_count(cut), *cut.block)


def _joined(blocks: jax.Array, cut: Blocking) -> jax.Array:
    """Join the blocks of a leaf to its shape, axes merged."""
    if cut.block == cut.laid:
        return blocks.reshape(cut.laid)
    counts = _counts(cut)
    x = blocks.reshape(*counts, *cut.block)
    x = x.transpose([k for i in range(len(counts)) for k in (i, len(counts) + i)])
    x = x.reshape([n * b for n, b in zip(counts, cut.block, strict=True)])
    return x[tuple(slice(size) for size in cut.laid)]
