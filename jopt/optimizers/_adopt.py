"""ADOPT."""

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    DType,
    GradientTransformation,
    Number,
    ScalarOrSchedule,
    abs_sq,
    as_schedule,
    chain,
    check,
    checked,
    field,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    root,
    shrink,
    static,
    value_at,
)
from jopt.optimizers._adam import ScaleByAdamState
from jopt.transforms import scale_by_learning_rate


def _fourth_root(count: jax.Array) -> jax.Array:
    return count**0.25


@pytree
class ScaleByAdopt(GradientTransformation):
    """Divide the gradient by the root of the earlier mean square, then take the mean.

        u = m <- b1 m + (1 - b1) clip(g / max(sqrt(v), eps), -c, c)
        v <- b2 v + (1 - b2) |g|^2        c = clip_value_fn(t)

    and with Nesterov's momentum u = b1 m + (1 - b1) clip(...) with the new m. The first
    update is 0: it only sets v = |g|^2.

    Unlike Adam, it converges with any b2.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: share of v that a step keeps, in [0, 1).
      eps: least divisor, above 0, in units of the gradients.
      mu_dtype: dtype of m. None is the params' dtype, but at least float32.
      nesterov: whether u has Nesterov's momentum, as above.
      use_clipping: whether to clip. For a complex leaf the modulus is clipped.
      clip_value_fn: at least 0; a number, a schedule or a function of t, the count of
        updates made before this one. The default is t ** 0.25.

    Taniguchi et al. 2024, https://arxiv.org/abs/2411.02853, Algorithm 2.
    """

    b1: Number = 0.9
    b2: Number = 0.9999
    eps: Number = 1e-6
    mu_dtype: DType = static(default=None)
    nesterov: bool = static(default=False, kw_only=True)
    use_clipping: bool = static(default=True, kw_only=True)
    clip_value_fn: ScalarOrSchedule = field(
        converter=as_schedule, default=_fourth_root, kw_only=True
    )

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", above=0)
        check(self, "clip_value_fn", least=0)

    def init(self, params):
        return ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params, dtype=self.mu_dtype),
            nu=full_like(params, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        first = state.count == 0
        b1, b2 = jnp.where(first, 1, self.b1), jnp.where(first, 0, self.b2)
        limit = value_at(self.clip_value_fn, state.count)

        def rule(g, m, v):
            scaled = g / jnp.maximum(root(v), self.eps)
            if self.use_clipping:
                scaled = _limited(scaled, limit)
            m, v = mix(m, scaled, b1), mix(v, abs_sq(g), b2)
            return (mix(m, scaled, b1) if self.nesterov else m), m, v

        updates, mu, nu = map_leaves(rule, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count=increment(state.count), mu=mu, nu=nu)


def _limited(x: jax.Array, limit: Number) -> jax.Array:
    """Limit the modulus; for real numbers this is `clip`."""
    if jnp.isrealobj(x):
        return jnp.clip(x, -limit, limit)
    return x * shrink(root(abs_sq(x)), limit)


scale_by_adopt = ScaleByAdopt


@checked
def adopt(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.9999,
    eps: Number = 1e-6,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: ScalarOrSchedule = _fourth_root,
) -> Chain:
    """Step as an Adam that converges with any b2.

        p <- p - learning_rate u,  u of `ScaleByAdopt`

    The first update is 0 whatever the gradients.

    The authors' package has the same defaults. Its weight decay is L2 unless
    `decouple=True`, which has no decay in the first step. To decay here, chain
    `add_decayed_weights` before the learning rate.

        tx = jopt.adopt(1e-3)

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps, mu_dtype, nesterov, use_clipping, clip_value_fn: see `ScaleByAdopt`.

    Taniguchi et al. 2024, https://arxiv.org/abs/2411.02853, Algorithm 2.
    """
    direction = scale_by_adopt(
        b1,
        b2,
        eps,
        mu_dtype,
        nesterov=nesterov,
        use_clipping=use_clipping,
        clip_value_fn=clip_value_fn,
    )
    return chain(direction, scale_by_learning_rate(learning_rate))
