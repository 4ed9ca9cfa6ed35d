"""LAMB."""

from collections.abc import Callable

from jopt.core import Chain, Number, PyTree, ScalarOrSchedule, chain, checked
from jopt.optimizers._adam import scale_by_adam
from jopt.transforms import (
    add_decayed_weights,
    scale_by_learning_rate,
    scale_by_trust_ratio,
)


@checked
def lamb(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-6,
    eps_root: Number = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> Chain:
    """Scale AdamW's step of each leaf to the norm of its parameters.

        p <- p - learning_rate |p| d / |d|
        d = u + weight_decay p,  u of `ScaleByAdam`

    It is meant for large batches. A leaf that is 0 moves by d itself, see
    `scale_by_trust_ratio`. The paper's limit of |p| is left out, as in optax.

    Args:
      learning_rate: fraction of the parameters' norms, at least 0; a number or a
        schedule.
      b1, b2, eps, eps_root: see `ScaleByAdam`.
      weight_decay: at least 0; a number or a schedule.
      mask: which parameters decay, see `add_decayed_weights`.

    You et al. 2019, https://arxiv.org/abs/1904.00962, Algorithm 2.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )
