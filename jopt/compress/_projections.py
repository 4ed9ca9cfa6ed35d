"""Projections: maps from weights to those that a small format can hold."""

from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jopt.compress._competition import Among, Competition
from jopt.compress._kept import all_kept
from jopt.compress._units import Element, Unit, norm
from jopt.core import (
    Kind,
    Mask,
    Number,
    PyTree,
    ScalarOrSchedule,
    argument_error,
    as_schedule,
    by_path,
    check,
    eigenbasis,
    field,
    gram,
    path_text,
    pytree,
    replicated,
    sharded_like,
    static,
    value_at,
)


class Projection:
    """A map from weights to the nearest ones of a format: a frozen pytree.

    Subclasses are `pytree` classes; their numbers are leaves.
    """

    def check_leaves(self, weights: PyTree) -> None:
        """Raise ValueError if a leaf cannot be projected.

        Args:
          weights: a tree of the leaves, arrays or shapes.
        """

    def __call__(self, weights: PyTree, count: jax.Array) -> PyTree:
        """Return the projected weights.

        Args:
          weights: a tree of real arrays of at least float32.
          count: int32[], the number of updates made before this one.
        """
        raise NotImplementedError


AnyProjection: TypeAlias = Annotated[
    Projection,
    Kind("a projection, such as jopt.Quantize(4)", lambda x: isinstance(x, Projection)),
]
"""An argument that is a projection."""


@pytree
class Sparse(Projection):
    """Set the smallest weights to 0 at each update; the others may come back.

    The hidden weights are trained further, so that the choice stays open (`prune` keeps
    zeros).

    Args:
      sparsity: share of the units that is 0, in [0, 1); a number or a schedule.
      unit, among: as in `prune`, static.
    """

    sparsity: ScalarOrSchedule = field(converter=as_schedule)
    unit: Unit = static(default=Element(), kw_only=True)
    among: Among = static(default="all", kw_only=True)

    def __post_init__(self):
        check(self, "sparsity", least=0, below=1)

    def check_leaves(self, weights):
        self._competition.leaves("Sparse", Mask(True), weights)

    def __call__(self, weights, count):
        scores = jax.tree.map(lambda w: norm(w, self.unit), weights)
        sparsity = value_at(self.sparsity, count)
        kept = self._competition.kept(scores, all_kept(weights), sparsity)
        return jax.tree.map(lambda m, w: jnp.where(m, w, 0), kept, weights)

    @property
    def _competition(self) -> Competition:
        return Competition(self.unit, self.among)


@pytree
class LowRank(Projection):
    """Keep the `rank` greatest singular values of each leaf.

    A leaf of more than two axes is a matrix of its last axis and all others.

    Args:
      rank: at least 1, and at most the smaller side of each matrix.

    Eckart & Young 1936, https://doi.org/10.1007/BF02288367.
    """

    rank: Number

    def __post_init__(self):
        check(self, "rank", least=1)

    def check_leaves(self, weights):
        if not isinstance(self.rank, (int, float, np.number)):
            return
        for path, leaf in by_path(weights).items():
            columns = leaf.shape[-1] if leaf.shape else 1
            smaller = min(columns, leaf.size // max(columns, 1))
            if self.rank > smaller and leaf.size:
                rule = f"at most {smaller}, the smaller side of {path_text(path)}"
                hint = "Choose a lower rank, or leave the leaf out by where."
                raise argument_error(
                    "LowRank", "rank", self.rank, rule, ValueError, hint
                )

    def __call__(self, weights, count):
        return jax.tree.map(self._lower, weights)

    def _lower(self, w: jax.Array) -> jax.Array:
        if w.size == 0:
            return w
        whole = replicated(w)
        matrix = whole.reshape(-1, w.shape[-1] if w.ndim else 1)
        axis = 0 if matrix.shape[0] < matrix.shape[1] else 1  # of the smaller side
        basis = eigenbasis(gram(matrix, axis))
        kept = jnp.where(
            jnp.arange(basis.shape[1], dtype=w.dtype) < self.rank, 1.0, 0.0
        )
        onto = (basis * kept[None, :]) @ basis.T
        lower = onto @ matrix if axis == 0 else matrix @ onto
        return sharded_like(lower.reshape(w.shape), w)


@pytree
class Composed(Projection):
    """Project twice: `Composed(Sparse(0.5), Quantize(4))`.

    Args:
      first: a projection.
      then: a projection of what the first has made; it may be composed too.
    """

    first: AnyProjection
    then: AnyProjection

    def check_leaves(self, weights):
        self.first.check_leaves(weights)
        self.then.check_leaves(weights)

    def __call__(self, weights, count):
        return self.then(self.first(weights, count), count)
