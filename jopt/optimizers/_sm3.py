"""SM3."""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
    leaves_like,
    map_leaves,
    mix,
    over_root,
    pytree,
    reduced_zeros,
    wide_dtype,
)
from jopt.transforms import scale_by_learning_rate


class ScaleBySM3State(NamedTuple):
    """Greatest squares along each axis, and running mean of the updates."""

    mu: PyTree  # for each leaf a list: an array for each axis, of its length; real
    nu: PyTree  # like params


@pytree
class ScaleBySm3(GradientTransformation):
    """Divide by the root of a sum of squares that is kept by row and column.

        s = min(a_1, ..., a_n) + |g|^2       a_i <- max of s over all axes but i
        u = g / sqrt(s + eps), and 0 where s is 0
        m <- b1 m + (1 - b1) u, the update that is returned

    The a_i of a leaf have a number for each of its rows and columns; for a vector this
    is Adagrad. The mean m has the size of the leaf, whatever b1 is.

    optax's b2 is a constant of the program, and its scalar parameters are an error.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: in (0, 1]. Below 1 it is s = b2 min(a) + (1 - b2) |g|^2, a mean rather than a
        sum.
      eps: added inside the root, at least 0, in units of the gradients squared.

    Anil et al. 2019, https://arxiv.org/abs/1901.11150, Algorithm SM3-II.
    """

    b1: Number = 0.9
    b2: Number = 1.0
    eps: Number = 1e-8

    def __post_init__(self):
        check(self, "b1", least=0, below=1)
        check(self, "b2", above=0, most=1)
        check(self, "eps", least=0)

    def init(self, params):
        def greatest(p):
            kind = jnp.finfo(wide_dtype(p)).dtype
            return [reduced_zeros(p, others, kind) for others in _other_axes(p.ndim)]

        mu = jax.tree.map(greatest, params)
        return ScaleBySM3State(mu=mu, nu=full_like(params))

    def update(self, updates, state, params=None, **extra):
        weight = jnp.where(self.b2 == 1, 1, 1 - self.b2)

        def rule(g, mean, *greatest):
            others = _other_axes(g.ndim)
            spread = map(jnp.expand_dims, greatest, others)
            s = self.b2 * reduce(jnp.minimum, spread) + weight * abs_sq(g)
            mean = mix(mean, over_root(g, s, self.eps), self.b1)
            return mean, mean, *(jnp.max(s, axes, initial=0) for axes in others)

        leaves, structure = jax.tree.flatten(updates)
        means = leaves_like(updates, state.nu)
        greatest: list[list[jax.Array]] = structure.flatten_up_to(state.mu)
        # Leaves of one rank have the same number of arrays and share one call.
        for rank in {len(arrays) for arrays in greatest}:
            at = [i for i, arrays in enumerate(greatest) if len(arrays) == rank]
            columns = zip(*(greatest[i] for i in at), strict=True)
            made = map_leaves(
                rule,
                [leaves[i] for i in at],
                [means[i] for i in at],
                *map(list, columns),
            )
            for i, (u, mean, *arrays) in zip(at, zip(*made, strict=True), strict=True):
                leaves[i], means[i], greatest[i] = u, mean, arrays
        mu, nu = structure.unflatten(greatest), structure.unflatten(means)
        return structure.unflatten(leaves), ScaleBySM3State(mu=mu, nu=nu)


def _other_axes(ndim: int) -> list[tuple[int, ...]]:
    """Return for each axis the others; a scalar counts as having one empty axis."""
    return [tuple(j for j in range(ndim) if j != i) for i in range(max(ndim, 1))]


scale_by_sm3 = ScaleBySm3


@checked
def sm3(learning_rate: ScalarOrSchedule, momentum: Number = 0.9) -> Chain:
    """Step along the gradient, divided by a root of sums of squares by row and column.

        p <- p - learning_rate u,  u of `ScaleBySm3` with b1 = momentum

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
        (In optax it is a number.)
      momentum: b1 of `ScaleBySm3`, in [0, 1).

    Anil et al. 2019, https://arxiv.org/abs/1901.11150, Algorithm SM3-II.
    """
    return chain(scale_by_sm3(momentum), scale_by_learning_rate(learning_rate))
