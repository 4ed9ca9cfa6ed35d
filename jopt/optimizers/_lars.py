"""LARS."""

from collections.abc import Callable

from jopt.core import Chain, Number, PyTree, ScalarOrSchedule, chain, checked
from jopt.transforms import (
    add_decayed_weights,
    scale_by_learning_rate,
    scale_by_trust_ratio,
    trace,
)


@checked
def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: PyTree | Callable[[PyTree], PyTree] = True,
    trust_coefficient: Number = 0.001,
    eps: Number = 0.0,
    trust_ratio_mask: PyTree | Callable[[PyTree], PyTree] = True,
    momentum: Number = 0.9,
    nesterov: bool = False,
) -> Chain:
    """Descend with momentum, each leaf's step a fraction of its parameters' norm.

        d = g + weight_decay p
        t <- momentum t - learning_rate trust_coefficient |p| d / (|d| + eps)
        p <- p + t

    It is meant for large batches. The paper divides by |g| + weight_decay |p|; here, as
    in optax, |g + weight_decay p| is the divisor. Biases and the parameters of
    normalization layers are usually left out of both masks.

    Args:
      learning_rate: at least 0; a number or a schedule.
      weight_decay: at least 0; a number or a schedule.
      weight_decay_mask: which parameters decay, see `add_decayed_weights`.
      trust_coefficient, eps: see `scale_by_trust_ratio`.
      trust_ratio_mask: which parameters are scaled, see `scale_by_trust_ratio`. The
        others step by -learning_rate d.
      momentum: share of t that a step keeps, see `trace`.
      nesterov: see `trace`.

    You et al. 2017, https://arxiv.org/abs/1708.03888, Algorithm 1.
    """
    ratio = scale_by_trust_ratio(
        trust_coefficient=trust_coefficient, eps=eps, mask=trust_ratio_mask
    )
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        ratio,
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )
