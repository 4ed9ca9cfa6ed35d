"""ADOPT."""

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


def _fourth_root(count):
    return count**0.25


@pytree
class ScaleByAdopt(GradientTransformation):
    """Divide the gradient by the root of the earlier mean square, then take the mean.

        u = m <- b1 m + (1 - b1) clip(g / max(sqrt(v), eps), -c, c)
        v <- b2 v + (1 - b2) |g|^2        c = clip_value_fn(t)

    and with Nesterov's momentum u = b1 m + (1 - b1) clip(...) with the new m. The first
    update is 0: it only sets v = |g|^2.

    b1, b2: in [0, 1); any b2 converges, which is the point. eps: above 0, in units
    of the gradients. mu_dtype: of m; by default the params', but at least float32.
    nesterov: as above. use_clipping: False leaves out the clip; of a complex leaf it is
    the modulus that is clipped. clip_value_fn: a number, a schedule or a function of t,
    the count of updates made before this one; by default t ** 0.25.

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


def _limited(x, limit):
    """Limit the modulus: of a real number, as `clip` does."""
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
    """Adam that converges with any b2.

        p <- p - learning_rate u,  u of `scale_by_adopt`

    learning_rate: at least 0, in units of params; a number or a schedule. The rest: see
    `scale_by_adopt`. The first update is 0 whatever the gradients.

    The authors' package has the same defaults. There weight decay is L2 unless
    `decouple=True`, and that has no decay in the first step; here chain
    `add_decayed_weights` before the learning rate.

        tx = jopt.adopt(1e-3)

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
