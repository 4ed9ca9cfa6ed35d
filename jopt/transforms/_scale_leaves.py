"""Multiplication of each leaf by its own number."""

import jax

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Labels,
    Number,
    PyTree,
    as_number,
    by_path,
    field,
    map_leaves,
    nested,
    pytree,
)


def _as_factors(given: PyTree) -> PyTree:
    """Return the factors as dicts of dicts by path; their leaves are numbers."""
    numbers = {path: as_number(number) for path, number in by_path(given).items()}
    return nested(numbers)


class _Places(Labels):
    """The index of each leaf's number among all numbers."""

    noun, tree = "factor", "ScaleLeaves: factors"


@pytree
class ScaleLeaves(GradientTransformation):
    """Multiply each leaf by its own number.

        u = c g,  with a number c for each leaf

    The numbers are leaves of the transformation: they can be swept and differentiated,
    and new ones do not recompile a program. At the end of an optimizer they are factors
    of its learning rate, one for each parameter, such as those of `scaling`. A factor
    multiplies everything before it in a chain, weight decay included.

        factors = {"hidden": 0.25, "out": 1.0}
        tx = jopt.chain(jopt.adam(3e-3), jopt.scale_leaves(factors))

    Args:
      factors: a tree of numbers like the params, or a prefix of it, matched by path, so
        that a dict fits an `nnx.State`.

    Raises:
      ValueError: in `init` and `update`, if the tree does not match the params; the
        message names the path.
    """

    factors: PyTree = field(converter=_as_factors)

    def groups(self, params):
        return self._places().leaves(params)

    def init(self, params):
        self._places().on(params)
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        numbers: list[Number] = jax.tree.leaves(self.factors)
        nodes, structure = self._places().on(updates).nodes(updates)

        def scaled(node: PyTree, factor: Number) -> PyTree:
            return map_leaves(lambda g: factor * g, node)

        made = structure.unflatten(
            node if place is None else scaled(node, numbers[place])
            for place, node in nodes
        )
        return made, state

    def _places(self) -> _Places:
        """Return the index of the number of each leaf of the params."""
        return _Places.at({path: i for i, path in enumerate(by_path(self.factors))})


scale_leaves = ScaleLeaves
