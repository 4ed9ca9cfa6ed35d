"""StableAdamW."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    DType,
    EmptyState,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    as_schedule,
    bias,
    chain,
    check,
    checked,
    field,
    map_leaves,
    needed,
    pytree,
    quotient,
    root,
    static,
    value_at,
    wide,
)
from jopt.optimizers._adam import ScaleByAdam
from jopt.transforms import add_decayed_weights, scale_by_learning_rate


@pytree
class ScaleByStableAdamw(GradientTransformation):
    """Shrink AdamW's step where the mean square has fallen behind the gradient.

        d = m' / (sqrt(v') + eps) + weight_decay(t) p,  m', v' of `ScaleByAdam`
        r = rms(g / sqrt(max(v', eps^2))),  the root of the mean over the leaf
        u = d / max(1, r)

    The decay is part of this transformation, since it shrinks too. The state is
    `ScaleByAdam`'s.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: share of v that a step keeps, in [0, 1).
      eps: added outside the root, at least 0, in units of the gradients.
      weight_decay: at least 0; a number or a schedule.
      mask: which parameters decay, see `add_decayed_weights`.
      mu_dtype: dtype of m, see `ScaleByAdam`.

    Raises:
      ValueError: `update` is called without `params`.

    Wortsman et al. 2023, https://arxiv.org/abs/2304.13013, Algorithm 2, whose
    bias-corrected decay rates are equivalent to bias-corrected means.
    """

    b1: Number = 0.9
    b2: Number = 0.99
    eps: Number = 1e-8
    weight_decay: ScalarOrSchedule = field(converter=as_schedule, default=1e-2)
    mask: PyTree | Callable[[PyTree], PyTree] | None = static(default=None)
    mu_dtype: DType = static(default=None)

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", "weight_decay", least=0)

    def init(self, params):
        return self._adam.init(params)

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that decay")
        rate = value_at(self.weight_decay, state.count)
        grads = jax.tree.map(wide, updates)
        direction, state = self._adam.update(grads, state)
        decay = add_decayed_weights(rate, self.mask)
        step, _ = decay.update(direction, EmptyState(), params)
        weight = bias(self.b2, state.count)

        def rule(g, d, v):
            least = jnp.maximum(v / weight, jnp.square(self.eps))
            ratio = quotient(abs_sq(g), least)
            # jnp.mean is NaN for a leaf of size zero.
            behind = root(jnp.sum(ratio) / max(ratio.size, 1))
            return d / jnp.maximum(1, behind)

        return map_leaves(rule, updates, step, state.nu), state

    @property
    def _adam(self) -> ScaleByAdam:
        return ScaleByAdam(self.b1, self.b2, self.eps, mu_dtype=self.mu_dtype)


scale_by_stable_adamw = ScaleByStableAdamw


@checked
def stable_adamw(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.99,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-2,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    mu_dtype: DType = None,
) -> Chain:
    """Take AdamW's step, shrunk by Adafactor's clipping, in place of clipped gradients.

        p <- p - learning_rate u,  u of `ScaleByStableAdamw`

        tx = jopt.stable_adamw(1e-3, weight_decay=0.1)

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps, weight_decay, mask, mu_dtype: see `ScaleByStableAdamw`.

    Wortsman et al. 2023, https://arxiv.org/abs/2304.13013, Algorithm 2.
    """
    return chain(
        scale_by_stable_adamw(b1, b2, eps, weight_decay, mask, mu_dtype),
        scale_by_learning_rate(learning_rate),
    )
