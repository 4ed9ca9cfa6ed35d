"""Projection of the parameters onto a set."""

from collections.abc import Callable

import jax

from jopt.core import (
    EmptyState,
    GradientTransformation,
    PyTree,
    as_number,
    checked,
    map_leaves,
    needed,
    pytree,
    standard_promotion,
    static,
    wide,
)


@pytree
class Project(GradientTransformation):
    """Move the parameters, after the update, to the nearest point of a set.

        p + u = projection(p + g, **arguments)

    Make it with `project`. `update` needs `params`.

    Args:
      projection: function of a tree (of all parameters, in at least float32) that
        returns a tree like it.
      arguments: its keyword arguments by name, numbers or trees of arrays; they are
        leaves and can be swept.

    Raises:
      ValueError: if `update` is given no `params`.
    """

    projection: Callable[..., PyTree] = static()
    arguments: dict[str, PyTree]

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters to project")
        wide_updates, wide_params = jax.tree.map(wide, (updates, params))
        moved = map_leaves(lambda g, p: p + g, wide_updates, wide_params)
        with standard_promotion():
            nearest = self.projection(moved, **self.arguments)
        return map_leaves(lambda _, q, p: q - p, updates, nearest, params), state


@checked
def project(projection: Callable[..., PyTree], **arguments: PyTree) -> Project:
    """Keep the parameters in a set, given as the function that projects onto it.

        ball = optax.projections.projection_l2_ball
        tx = jopt.chain(jopt.sgd(0.1), jopt.project(ball, scale=1.0))

    Place it last in a chain. With the steps of `sgd` this is the projected gradient
    method; after another scaling, the nearest point is still nearest in Euclidean
    distance. Subtraction and addition round: a bound other than zero can be missed by
    the last digit.

    Args:
      projection: `projection(tree, **arguments)`, as those of `optax.projections`. The
        tree is that of all parameters: the ball above bounds their joint norm. For a
        set of some of the parameters, wrap the result in `masked`.
      **arguments: numbers, or trees of arrays like the params; they are leaves, not
        constants. The bounds of `projection_box` must be such trees, unless the params
        are one array.

    Returns:
      A `Project`.

    Bertsekas 1976, https://doi.org/10.1109/TAC.1976.1101194.
    """
    numbers = {name: as_number(value) for name, value in arguments.items()}
    return Project(projection, numbers)
