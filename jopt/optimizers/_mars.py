"""MARS: the gradient, corrected by how it changed."""

from collections.abc import Callable
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
    chain,
    check,
    checked,
    full_like,
    increment,
    map_leaves,
    norm,
    pytree,
    shrink,
)
from jopt.optimizers._adam import scale_by_adam
from jopt.optimizers._decoupled_decay import Decay, rate_and_decay


class ScaleByMarsState(NamedTuple):
    """Gradient of the step before."""

    count: jax.Array  # int32[], updates made
    last_grad: PyTree  # like params


@pytree
class ScaleByMars(GradientTransformation):
    """Correct the gradient by its change, against the noise in a running mean of it.

        c = g + gamma b1 / (1 - b1) (g - h),  h the gradient of the step before
        u = c / max(1, |c|),  the norm of each leaf

    At the first step h is g. Followed by `ScaleByAdam` or `ScaleByLion`, this is the
    paper's MARS-AdamW or MARS-Lion.

    This is the approximate variant, which costs no second gradient: h is of the last
    step's batch. The exact variant takes it of this step's batch at the last params.
    Where the gradient of a leaf has a norm above 1, the update does not depend on that
    norm.

    Args:
      b1: share of the running mean that follows, in [0, 1).
      gamma: strength of the correction, at least 0, without unit. 0 leaves only the
        clipping.

    Yuan et al. 2024, https://arxiv.org/abs/2411.10438, Algorithm 1.
    """

    b1: Number = 0.95
    gamma: Number = 0.025

    def __post_init__(self):
        check(self, "b1", least=0, below=1)
        check(self, "gamma", least=0)

    def init(self, params):
        return ScaleByMarsState(jnp.zeros((), jnp.int32), full_like(params))

    def update(self, updates, state, params=None, **extra):
        weight = self.gamma * self.b1 / (1 - self.b1)
        weight = jnp.where(state.count == 0, 0, weight)

        def rule(g, last):
            corrected = g + weight * (g - last)
            return corrected * shrink(norm(corrected), 1), g

        updates, last = map_leaves(rule, updates, state.last_grad)
        return updates, ScaleByMarsState(increment(state.count), last)


scale_by_mars = ScaleByMars


@checked
def mars(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.95,
    b2: Number = 0.99,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    *,
    gamma: Number = 0.025,
    decay: Decay = "rate",
) -> Chain:
    """Step as AdamW does on corrected gradients: MARS-AdamW, the approximate variant.

        p <- p - learning_rate (u + weight_decay p)

    where u is `ScaleByAdam`'s update for the corrected gradients of `ScaleByMars`.

        tx = jopt.mars(3e-3, weight_decay=0.01)

    The authors' code takes plain AdamW, with its own learning rate, for parameters of
    fewer than two axes: see `partition`. It counts the gradient before the first as
    zero; the paper, and this function, have no correction at the first step.

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1: for both, see `ScaleByMars` and `ScaleByAdam`.
      b2, eps, eps_root, mu_dtype: see `ScaleByAdam`.
      weight_decay, mask, decay: see `adamw`.
      gamma: see `ScaleByMars`.

    Raises:
      ValueError: if `decay` is neither "rate" nor "independent".

    Yuan et al. 2024, https://arxiv.org/abs/2411.10438, Algorithm 2.
    """
    return chain(
        scale_by_mars(b1, gamma),
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype),
        *rate_and_decay(learning_rate, weight_decay, mask, decay),
    )
