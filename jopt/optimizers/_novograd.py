"""NovoGrad."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    DType,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    as_schedule,
    chain,
    check,
    checked,
    dtype_of,
    field,
    full_like,
    increment,
    map_leaves,
    mix,
    needed,
    pytree,
    root,
    static,
    value_at,
)
from jopt.transforms import scale_by_learning_rate


class ScaleByNovogradState(NamedTuple):
    """Running sum of the normalized gradients, and mean square of each norm."""

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params
    nu: PyTree  # a real scalar for each leaf of params


@pytree
class ScaleByNovograd(GradientTransformation):
    """Sum up gradients, each leaf's divided by the root of its mean squared norm.

        v <- b2 v + (1 - b2) |g|^2, and |g|^2 at the first step,  |g| = norm of the leaf
        m <- b1 m + g / (sqrt(v + eps_root) + eps) + weight_decay p
        u = m

    The second moment is one number a leaf, so the state is half of Adam's. Under a
    steady gradient the sum is 1 / (1 - b1) times as long as one direction.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: share of v that a step keeps, in [0, 1).
      eps: added outside the root, at least 0, in units of the gradients.
      eps_root: added inside the root, at least 0, in units of the gradients squared.
      weight_decay: at least 0, per unit of params; a number or a schedule.
      mu_dtype: dtype of m. None is the params' dtype, but at least float32.

    Raises:
      ValueError: `update` is called without `params`.

    Ginsburg et al. 2019, https://arxiv.org/abs/1905.11286, Algorithm 1.
    """

    b1: Number = 0.9
    b2: Number = 0.25
    eps: Number = 1e-8
    eps_root: Number = 0.0
    weight_decay: ScalarOrSchedule = field(converter=as_schedule, default=0.0)
    mu_dtype: DType = static(default=None)

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", "eps_root", "weight_decay", least=0)

    def init(self, params):
        scalars = jax.tree.map(lambda p: jax.ShapeDtypeStruct((), dtype_of(p)), params)
        return ScaleByNovogradState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params, dtype=self.mu_dtype),
            nu=full_like(scalars, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that decay")
        rate = value_at(self.weight_decay, state.count)
        count = increment(state.count)

        def rule(g, m, v, p):
            square = jnp.sum(abs_sq(g))
            v = jnp.where(count == 1, square, mix(v, square, self.b2))
            direction = g / (root(v + self.eps_root) + self.eps) + rate * p
            m = self.b1 * m + direction
            return m, m, v

        updates, mu, nu = map_leaves(rule, updates, state.mu, state.nu, params)
        return updates, ScaleByNovogradState(count=count, mu=mu, nu=nu)


scale_by_novograd = ScaleByNovograd


@checked
def novograd(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.25,
    eps: Number = 1e-6,
    eps_root: Number = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
) -> Chain:
    """Step along a running sum of gradients, normalized leaf by leaf.

        p <- p - learning_rate u,  u of `ScaleByNovograd`

    The paper's betas are 0.95 and 0.98; the defaults are those of its training of
    Jasper.

    Args:
      learning_rate: at least 0, in units of params' norms; a number or a schedule.
      b1, b2, eps, eps_root: see `ScaleByNovograd`.
      weight_decay: at least 0; a number or a schedule. It is summed up like the
        gradients and multiplied by the learning rate.

    Ginsburg et al. 2019, https://arxiv.org/abs/1905.11286, Algorithm 1.
    """
    direction = scale_by_novograd(b1, b2, eps, eps_root, weight_decay)
    return chain(direction, scale_by_learning_rate(learning_rate))
