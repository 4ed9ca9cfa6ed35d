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
from jopt.optimizers._descent import Decay, descent


class ScaleByMarsState(NamedTuple):
    """The gradient of the step before."""

    count: jax.Array  # int32[], updates made
    last_grad: PyTree  # like params


@pytree
class ScaleByMars(GradientTransformation):
    """Correct the gradient by its change, against the noise in a running mean of it.

        c = g + gamma b1 / (1 - b1) (g - h),  h the gradient of the step before
        u = c / max(1, |c|),  the norm of each leaf

    At the first step h is g. b1: in [0, 1), that of the mean which follows. gamma: at
    least 0, no unit; 0 leaves but the clipping. Followed by `scale_by_adam` or
    `scale_by_lion`, this is the paper's MARS-AdamW or MARS-Lion.

    This is the approximate variant, which costs no second gradient: h is of the last
    step's batch, where the exact variant takes it of this step's at the last params.
    Leaves whose gradients have a norm above 1 forget their size.

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
    """AdamW on corrected gradients: MARS-AdamW, the approximate variant.

        p <- p - learning_rate (u + weight_decay p)
        u of `scale_by_adam`, made of what `scale_by_mars` makes of the gradients

    learning_rate: at least 0, in units of params; a number or a schedule. b1, gamma:
    see `scale_by_mars`. The rest: see `adamw`.

        tx = jopt.mars(3e-3, weight_decay=0.01)

    The authors' code takes plain AdamW, with rates of its own, for parameters of fewer
    than two axes: see `partition`. It counts the gradient before the first as zero,
    where the paper, and this, has no correction at the first step.

    Yuan et al. 2024, https://arxiv.org/abs/2411.10438, Algorithm 2.
    """
    return chain(
        scale_by_mars(b1, gamma),
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype),
        *descent(learning_rate, weight_decay, mask, decay),
    )
