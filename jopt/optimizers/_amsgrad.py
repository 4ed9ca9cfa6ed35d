"""AMSGrad."""

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
    bias,
    chain,
    check,
    checked,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    root,
    static,
)
from jopt.transforms import scale_by_learning_rate


class ScaleByAmsgradState(NamedTuple):
    """Adam's running means, and the greatest mean square so far."""

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params
    nu: PyTree  # like params, real
    nu_max: PyTree  # like params, real


@pytree
class ScaleByAmsgrad(GradientTransformation):
    """Divide Adam's mean gradient by the root of the greatest mean square so far.

        m <- b1 m + (1 - b1) g            v <- b2 v + (1 - b2) |g|^2
        w <- max(w, v / (1 - b2^t))       u = m' / (sqrt(w + eps_root) + eps)
        m' = m / (1 - b1^t)

    The maximum is taken after the bias correction, as in optax; PyTorch takes it
    before.

    Args:
      b1, b2, eps, eps_root, mu_dtype: see `ScaleByAdam`.
      bias_correction_mu: whether m is divided by 1 - b1^t.
      bias_correction_nu: whether v is divided by 1 - b2^t.

    Reddi et al. 2018, https://openreview.net/forum?id=ryQu7f-RZ, Algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    eps_root: Number = 0.0
    mu_dtype: DType = static(default=None)
    bias_correction_mu: bool = static(default=True)
    bias_correction_nu: bool = static(default=True)

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", "eps_root", least=0)

    def init(self, params):
        return ScaleByAmsgradState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params, dtype=self.mu_dtype),
            nu=full_like(params, real=True),
            nu_max=full_like(params, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        weight1 = bias(self.b1, count) if self.bias_correction_mu else 1
        weight2 = bias(self.b2, count) if self.bias_correction_nu else 1

        def rule(g, m, v, top):
            m, v = mix(m, g, self.b1), mix(v, abs_sq(g), self.b2)
            top = jnp.maximum(top, v / weight2)
            return m / weight1 / (root(top + self.eps_root) + self.eps), m, v, top

        trees = map_leaves(rule, updates, state.mu, state.nu, state.nu_max)
        return trees[0], ScaleByAmsgradState(count, *trees[1:])


scale_by_amsgrad = ScaleByAmsgrad


@checked
def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> Chain:
    """Step as an Adam whose step sizes never grow.

        p <- p - learning_rate u,  u of `ScaleByAmsgrad`

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps, eps_root, mu_dtype: see `ScaleByAdam`.
      bias_correction_mu, bias_correction_nu: see `ScaleByAmsgrad`.

    Reddi et al. 2018, https://openreview.net/forum?id=ryQu7f-RZ, Algorithm 2.
    """
    direction = scale_by_amsgrad(
        b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu
    )
    return chain(direction, scale_by_learning_rate(learning_rate))
