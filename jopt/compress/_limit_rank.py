"""`limit_rank`: adapters of many ranks in one program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Labels,
    Number,
    PyTree,
    Transformation,
    argument_error,
    as_transformation,
    by_path,
    check,
    dtype_of,
    field,
    is_integer,
    is_real,
    listed_paths,
    pytree,
    sharded_like,
    shown,
    static,
)


def adapters_rank_axis(path: str, leaf: jax.Array) -> int | None:
    """Return the rank axis of a leaf of an adapter, None for other leaves.

    It is the last axis of `lora_a` and the first of `lora_b`, as `lora` and Flax name
    them.

    Args:
      path: the path of the leaf.
      leaf: an array or its shape.
    """
    return {"lora_a": -1, "lora_b": 0}.get(path.rpartition("/")[2])


class LimitRankState(NamedTuple):
    """The state of the inner transformation."""

    inner_state: PyTree  # of the inner transformation


@pytree
class LimitRank(GradientTransformation):
    """Train the first columns of each adapter only: a rank that is data.

        u, s <- inner(g, s, p), g and p with 0 in columns from `rank` on
        u = 0 in columns from `rank` on

        model = jopt.lora(model, rank=16)
        tx = jopt.limit_rank(jopt.adamw(1e-3), rank=4)

    B begins at 0, so untrained columns add nothing: the model equals one with adapters
    of this rank, the same A and the same scale. Because the rank is a leaf, a sweep
    over it is one program, of the size of the largest rank. `inner` and its norms see
    zeros in the untrained columns.

    Args:
      inner: a whole optimizer.
      rank: number of columns that are trained, at least 1.
      axis: the axis of the columns for each leaf, None for a leaf without: `Labels`,
        such as a function of (path, leaf), static. By default the last of leaves named
        `lora_a`, and the first of `lora_b`.

    Raises:
      ValueError: if no leaf has columns, or if the rank is above the number of columns.
    """

    inner: Transformation = field(converter=as_transformation)
    rank: Number
    axis: PyTree = static(default=adapters_rank_axis, converter=Labels, kw_only=True)

    def __post_init__(self):
        check(self, "rank", least=1)

    def groups(self, params):
        others = self.inner.groups(params)
        pairs = zip(self._axes(params), others, strict=True)
        return [group if axis is None else None for axis, group in pairs]

    def init(self, params):
        leaves = jax.tree.leaves(params)
        pairs = zip(leaves, self._axes(params), strict=True)
        sizes = [leaf.shape[axis] for leaf, axis in pairs if axis is not None]
        if leaves and not sizes:
            raise ValueError(
                "LimitRank: params must have leaves named lora_a or lora_b, or axis "
                f"must give others an axis; there are {listed_paths(by_path(params))}."
            )
        if is_real(self.rank) and self.rank > max(sizes, default=self.rank):
            rule = f"at most {max(sizes)}, the number of columns"
            raise argument_error("LimitRank", "rank", self.rank, rule, ValueError)
        return LimitRankState(self.inner.init(params))

    def update(self, updates, state, params=None, **extra):
        seen = None if params is None else self._limited(params)
        given = self._limited(updates)
        made, inner = self.inner.update(given, state.inner_state, seen, **extra)
        return self._limited(made), LimitRankState(inner)

    def eval_params(self, state, params):
        made = self.inner.eval_params(state.inner_state, self._limited(params))
        return self._limited(made, params)

    def _limited(self, tree: PyTree, others: PyTree | None = None) -> PyTree:
        """Return a tree with 0, or another tree's numbers, in columns from rank on."""
        leaves, structure = jax.tree.flatten(tree)
        rest = [None] * len(leaves) if others is None else jax.tree.leaves(others)

        def leaf(x: jax.Array, axis: int | None, other: jax.Array | None) -> jax.Array:
            if axis is None:
                return x
            kind = dtype_of(self.rank)
            columns = jax.lax.broadcasted_iota(kind, x.shape, axis % x.ndim)
            trained = sharded_like(columns, x) < self.rank
            return jnp.where(trained, x, jnp.zeros_like(x) if other is None else other)

        return structure.unflatten(map(leaf, leaves, self._axes(tree), rest))

    def _axes(self, params: PyTree) -> list[int | None]:
        """Return the rank's axis of each leaf; raise ValueError if it has none."""
        axes = self.axis.leaves(params)
        for leaf, axis in zip(jax.tree.leaves(params), axes, strict=True):
            shape = getattr(leaf, "shape", ())
            fits = is_integer(axis) and -len(shape) <= axis < len(shape)
            if axis is not None and not fits:
                raise ValueError(
                    "LimitRank: axis must be None or an axis of each leaf of params, "
                    f"got {shown(axis)} for one of shape {list(shape)}."
                )
        return axes


limit_rank = LimitRank
