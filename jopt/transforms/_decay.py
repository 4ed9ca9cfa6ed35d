"""Weight decay, of a given size or one that follows the gradients."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Mask,
    Number,
    PyTree,
    ScalarOrSchedule,
    Schedule,
    as_mask,
    as_schedule,
    check,
    field,
    global_norm,
    increment,
    map_leaves,
    mix,
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


class AdaptiveDecayState(NamedTuple):
    """The running mean of the decay."""

    weight_decay: jax.Array  # float32[]


@pytree
class AddAdaptiveDecay(GradientTransformation):
    """Add the parameters, scaled to a fraction of the gradients' norm.

        w = decay w + (1 - decay) ratio |g| / (|p| + eps)        u = g + w p

    |g| and |p| are the norms over all leaves, in at least float32; `masked` chooses
    leaves. The mean w starts at 0. For a place before the optimizer, where the updates
    are gradients. `update` needs `params`.

    Args:
      ratio: the norm of the decay, as a fraction of the gradients'; at least 0.
      decay: share of the mean that a step keeps, in [0, 1].
      eps: added to the norm of the parameters; at least 0, in their units.

    Raises:
      ValueError: if `update` is given no `params`.

    Ghiasi et al. 2022, https://arxiv.org/abs/2210.00094, Algorithm 1.
    """

    ratio: Number
    decay: Number = 0.1
    eps: Number = 1e-8

    shapeless = True

    def __post_init__(self):
        check(self, "ratio", "eps", least=0)
        check(self, "decay", least=0, most=1)

    def init(self, params):
        return AdaptiveDecayState(weight_decay=jnp.zeros((), jnp.float32))

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that decay")
        now = self.ratio * global_norm(updates) / (global_norm(params) + self.eps)
        mean = mix(state.weight_decay, now, self.decay).astype(jnp.float32)
        decayed = map_leaves(lambda g, p: g + mean * p, updates, params)
        return decayed, AdaptiveDecayState(weight_decay=mean)


add_decayed_weights = AddDecayedWeights
AddDecayedWeightsState = EmptyState
add_adaptive_decay = AddAdaptiveDecay
