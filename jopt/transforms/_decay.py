"""Weight decay."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Mask,
    PyTree,
    ScalarOrSchedule,
    Schedule,
    as_mask,
    as_schedule,
    check,
    field,
    increment,
    map_leaves,
    needed,
    pytree,
    static,
    value_at,
)


class WeightDecaySchedule(NamedTuple):
    """The step of the weight decay's schedule."""

    count: jax.Array  # int32[], updates made


@pytree
class AddDecayedWeights(GradientTransformation):
    """Add a multiple of the parameters to the updates.

        u = g + weight_decay(t) p,  t = updates made before this one

    Before an adaptive scaling this is L2 regularization; after it, decoupled weight
    decay. Before `scale_by_learning_rate` it is multiplied by the learning rate, too.

    The state is empty for a number and holds the count for a schedule. `update` needs
    `params`.

    Args:
      weight_decay: at least 0, a number or a schedule.
      mask: which leaves decay: a tree of bools like the params (or a prefix of it), a
        function that makes one, or a function of each path and leaf, see `masked`; None
        is all leaves.
      flip_sign: subtract instead of add, for a place after `scale_by_learning_rate`.

    Raises:
      ValueError: if `update` is given no `params`.

    Loshchilov & Hutter 2017, https://arxiv.org/abs/1711.05101, Algorithm 2, line 12.
    """

    weight_decay: ScalarOrSchedule = field(converter=as_schedule, default=0.0)
    mask: PyTree | Callable[[PyTree], PyTree] | None = static(
        converter=as_mask, default=None
    )
    flip_sign: bool = static(default=False, kw_only=True)

    def __post_init__(self):
        check(self, "weight_decay", least=0)

    def groups(self, params):
        mask = self.mask if isinstance(self.mask, Mask) else Mask(True)
        return mask.leaves(params)

    def init(self, params):
        if isinstance(self.weight_decay, Schedule):
            return WeightDecaySchedule(count=jnp.zeros((), jnp.int32))
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that decay")
        scheduled = isinstance(self.weight_decay, Schedule)
        size = value_at(self.weight_decay, state.count if scheduled else None)
        rate = -size if self.flip_sign else size
        if scheduled:
            state = WeightDecaySchedule(count=increment(state.count))
        decayed = map_leaves(lambda g, p: g + rate * p, updates, params)
        if isinstance(self.mask, Mask):
            decayed = self.mask.choose(params, decayed, updates)
        return decayed, state


add_decayed_weights = AddDecayedWeights
AddDecayedWeightsState = EmptyState
