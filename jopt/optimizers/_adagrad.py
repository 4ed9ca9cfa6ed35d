"""Adagrad."""

from typing import NamedTuple

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    chain,
    check,
    checked,
    full_like,
    map_leaves,
    over_root,
    pytree,
)
from jopt.transforms import scale_by_learning_rate


class ScaleByRssState(NamedTuple):
    """Sums of the squares so far."""

    sum_of_squares: PyTree  # like params, real


@pytree
class ScaleByRss(GradientTransformation):
    """Divide by the root of the sum of the squares so far.

        s <- s + |g|^2        u = g / sqrt(s + eps), and 0 while s is 0

    PyTorch starts s at 0 and adds its eps of 1e-10 outside the root.

    Args:
      initial_accumulator_value: start of s, at least 0, in units of the gradients
        squared.
      eps: added inside the root, at least 0, in units of the gradients squared.

    Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html, Figure 1.
    """

    initial_accumulator_value: Number = 0.1
    eps: Number = 1e-7

    shapeless = True

    def __post_init__(self):
        check(self, "initial_accumulator_value", "eps", least=0)

    def init(self, params):
        start = self.initial_accumulator_value
        return ScaleByRssState(sum_of_squares=full_like(params, start, real=True))

    def update(self, updates, state, params=None, **extra):
        def rule(g, s):
            s = s + abs_sq(g)
            return over_root(g, s, self.eps), s

        updates, squares = map_leaves(rule, updates, state.sum_of_squares)
        return updates, ScaleByRssState(sum_of_squares=squares)


scale_by_rss = ScaleByRss


@checked
def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: Number = 0.1,
    eps: Number = 1e-7,
) -> Chain:
    """Step along the gradient, divided by the root of the sum of all squares.

        p <- p - learning_rate u,  u of `ScaleByRss`

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      initial_accumulator_value, eps: see `ScaleByRss`.

    Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html, Figure 1.
    """
    direction = scale_by_rss(initial_accumulator_value, eps)
    return chain(direction, scale_by_learning_rate(learning_rate))
