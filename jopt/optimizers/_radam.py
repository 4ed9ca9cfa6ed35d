"""Rectified Adam."""

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    ScalarOrSchedule,
    abs_sq,
    bias,
    chain,
    check,
    checked,
    debiased,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    root,
    static,
    wide,
)
from jopt.optimizers._adam import ScaleByAdamState
from jopt.transforms import scale_by_learning_rate


@pytree
class ScaleByRadam(GradientTransformation):
    """Step as Adam does, but shorter while the mean square is of few gradients.

        u = r m' / (sqrt(v' + eps_root) + eps) if s >= threshold, else m'
        r = sqrt((s - 4) (s - 2) z / ((z - 4) (z - 2) s))
        s = z - 2 t b2^t / (1 - b2^t)     z = 2 / (1 - b2) - 1

    with m' and v' of `ScaleByAdam`; s grows from 1 at the first step to z.

    PyTorch does not divide eps by the bias of the mean square, as it should, so its eps
    is a little greater at first.

    Args:
      b1, b2, eps, eps_root, nesterov: see `ScaleByAdam`.
      threshold: least s with an adaptive step, at least 4, where r is 0. With b2 below
        2/3 the default of 5 is never reached.

    Liu et al. 2019, https://arxiv.org/abs/1908.03265, Algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    eps_root: Number = 0.0
    threshold: Number = 5.0
    nesterov: bool = static(default=False, kw_only=True)

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", "eps_root", least=0)
        check(self, "threshold", least=4)

    def init(self, params):
        return ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params),
            nu=full_like(params, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        weight1, weight2 = bias(self.b1, count), bias(self.b2, count)
        ahead = bias(self.b1, increment(count)) if self.nesterov else None
        samples, most = _samples(self.b2, count), (1 + self.b2) / (1 - self.b2)
        # The root exists only above 4. Below, 5 stands in: `where` drops the result.
        tame = (samples >= self.threshold) & (samples > 4)
        s, z = jnp.where(tame, samples, 5), jnp.where(tame, most, 5)
        held = jnp.sqrt((s - 4) * (s - 2) * z / ((z - 4) * (z - 2) * s))

        def rule(g, m, v):
            m, v = mix(m, g, self.b1), mix(v, abs_sq(g), self.b2)
            mean = debiased(m, g, self.b1, weight1, ahead)
            scaled = held * mean / (root(v / weight2 + self.eps_root) + self.eps)
            return jnp.where(tame, scaled, mean), m, v

        updates, mu, nu = map_leaves(rule, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count=count, mu=mu, nu=nu)


def _samples(decay: Number, count: jax.Array) -> jax.Array:
    """Return how many equally weighted samples the mean of `count` is worth.

    The paper's formula subtracts thousands to get units, which would keep three digits.
    With x = -log(decay) / 2 and f(y) = 1 - (coth(y) - 1 / y) it is t f(t x) + 1 - f(x).
    """
    decay = wide(decay)
    decay = jnp.maximum(decay, jnp.finfo(decay.dtype).tiny)
    half = -jnp.log1p(decay - 1) / 2
    count = count.astype(half.dtype)
    return count * _one_less_langevin(count * half) + 1 - _one_less_langevin(half)


def _one_less_langevin(y: jax.Array) -> jax.Array:
    """Return `1 + 1 / y - coth(y)`, for y above 0."""
    small = y < 0.5
    near, far = jnp.where(small, y, 0.25), jnp.where(small, 1, y)
    terms = jnp.asarray([2 / 93555, 0, -1 / 4725, 0, 2 / 945, 0, -1 / 45, 0, 1 / 3, 0])
    series = 1 - jnp.polyval(terms.astype(y.dtype), near)
    return jnp.where(small, series, 1 / far - 2 / jnp.expm1(2 * far))


scale_by_radam = ScaleByRadam


@checked
def radam(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    threshold: Number = 5.0,
    *,
    nesterov: bool = False,
) -> Chain:
    """Step as Adam does, but shorter while the mean square is of few gradients.

        p <- p - learning_rate u,  u of `ScaleByRadam`

    This is a warmup. The first steps, 5 with the default b2, are along the mean
    gradient itself.

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps, eps_root, nesterov: see `ScaleByAdam`.
      threshold: see `ScaleByRadam`.

    Liu et al. 2019, https://arxiv.org/abs/1908.03265, Algorithm 2.
    """
    direction = scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)
    return chain(direction, scale_by_learning_rate(learning_rate))
