"""Parameters that stay in a set."""

from collections.abc import Callable
from typing import Any

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
    """Make the parameters after the update the point of a set that is nearest to them.

        p + u = projection(p + g, **arguments)

    projection: a function of a tree (of all parameters, in at least float32) that
    returns a tree like it. arguments: its keyword arguments by name, numbers or trees
    of arrays; they are leaves, to be swept as any. Make it by `project`.

    `update` needs `params`: it raises a ValueError without.
    """

    projection: Callable[..., PyTree] = static()
    arguments: dict[str, Any]

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
def project(projection: Callable[..., PyTree], **arguments: Any) -> Project:
    """Keep the parameters in a set, given as the function that projects onto it.

        ball = optax.projections.projection_l2_ball
        tx = jopt.chain(jopt.sgd(0.1), jopt.project(ball, scale=1.0))

    projection: `projection(tree, **arguments)`, as those of `optax.projections` are.
    The tree is that of all parameters: the ball above is of their joint norm. For a set
    of some of the parameters, wrap it in `masked`. arguments: numbers, or trees of
    arrays like the params; data, not constants. The bounds of `projection_box` must be
    such trees, unless the params are one array.

    Must be the last in a chain. With the steps of `sgd` this is the projected gradient
    method; behind another scaling the nearest point is still that of the plain
    distance. Subtraction and addition round: a bound other than zero can be missed by
    the last digit.

    Bertsekas 1976, https://doi.org/10.1109/TAC.1976.1101194.
    """
    numbers = {name: as_number(value) for name, value in arguments.items()}
    return Project(projection, numbers)
