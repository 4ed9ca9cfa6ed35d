"""Schedule-Free: an average of the iterates in place of a schedule and momentum."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Buckets,
    DType,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    Transformation,
    as_schedule,
    as_transformation,
    check,
    checked,
    copied,
    field,
    increment,
    map_leaves,
    needed,
    pytree,
    quotient,
    static,
    unpack,
    value_at,
    wide,
)


class ScheduleFreeState(NamedTuple):
    """The base optimizer's own point z, and the weights of the average so far."""

    b1: jax.Array  # float32[], the b1 that params are made with
    weight_sum: jax.Array  # float32[]
    step_count: jax.Array  # int32[], updates made, plus 1
    max_lr: jax.Array  # float32[]
    base_optimizer_state: PyTree  # of the base optimizer
    z: PyTree  # like params


@pytree
class ScheduleFree(GradientTransformation):
    """Train between the base optimizer's point and the average of its points.

        y = (1 - b1) z + b1 x           the params: gradients are taken here
        z <- z + d                      d of base_optimizer
        x <- (1 - c) x + c z            the average: evaluate here
        c = w_t / (w_1 + ... + w_t)     w_t = max(rate_1, ..., rate_t)^weight_lr_power
        rate_t = learning_rate(t)       t = 1 for the first update

    The average is not stored: `schedule_free_eval_params` computes it from params and
    z. In low-precision params it is as coarse as they are. `update` needs `params`.

    On `lag`: a schedule inside base_optimizer is at step 0 when the one here is at step
    1. In a warmup each point is then weighted by the rate of the step after the one
    that made it: a lag of 1, as in optax. The paper and its authors' package weight a
    point by the rate that made it: a lag of 0.

    Args:
      base_optimizer: any transformation without momentum.
      learning_rate: the learning rate of base_optimizer, a number or a schedule with a
        warmup and no decay. Here it only weights the average, so a constant changes
        nothing: to change the steps, change it in base_optimizer too.
      b1: share of the average in y, above 0, at most 1; usually 0.9 to 0.98. It may
        change during training.
      weight_lr_power: any number; 0 weights all points equally.
      state_dtype: dtype of z; by default the params', but at least float32.
      lag: 0, 1 or None, static. With a number, base_optimizer makes directions u
        without a learning rate (`scale_by_rms`, `identity`), and d = -learning_rate(t -
        lag) u: the rate is one number. With None, d are base_optimizer's updates.

    Raises:
      ValueError: if `lag` is another value, or `update` is given no `params`.

    Defazio et al. 2024, https://arxiv.org/abs/2405.15682, Algorithm 1.
    """

    base_optimizer: Transformation = field(converter=as_transformation)
    learning_rate: ScalarOrSchedule = field(converter=as_schedule)
    b1: Number = 0.9
    weight_lr_power: Number = 2.0
    state_dtype: DType = static(default=None)
    lag: Literal[0, 1] | None = static(default=None, kw_only=True)

    shapeless = True

    def __post_init__(self):
        check(self, "learning_rate", least=0)
        check(self, "b1", most=1, above=0, hint="The average is recovered through b1.")
        if self.lag not in (None, 0, 1):
            raise ValueError(f"ScheduleFree: lag must be 0, 1 or None, got {self.lag}.")

    def init(self, params):
        return ScheduleFreeState(
            b1=jnp.full((), self.b1, float),
            weight_sum=jnp.zeros((), float),
            step_count=jnp.ones((), jnp.int32),
            max_lr=jnp.zeros((), float),
            base_optimizer_state=self.base_optimizer.init(params),
            z=copied(params, dtype=self.state_dtype),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the point that the gradients are of")
        max_lr = jnp.maximum(
            state.max_lr, value_at(self.learning_rate, state.step_count)
        )
        weight = _power(max_lr, self.weight_lr_power)
        total = state.weight_sum + weight
        c = quotient(weight, total)
        steps, base_state = self.base_optimizer.update(
            jax.tree.map(wide, updates), state.base_optimizer_state, params, **extra
        )
        size = (
            1
            if self.lag is None
            else -value_at(self.learning_rate, state.step_count - self.lag)
        )
        z = map_leaves(lambda z, d: z + size * d, state.z, steps)

        # The new y minus the old one, with x eliminated. So nothing is divided by b1,
        # and small steps near the end of training are not differences of large params.
        # While b1 does not change, the first factor is c.
        back = c + (1 - c) * (1 - self.b1 / state.b1)
        along = 1 - self.b1 * (1 - c)

        def rule(g, y, old, new):
            return back * (old - y) + along * (new - old)

        updates = map_leaves(rule, updates, params, state.z, z)
        return updates, ScheduleFreeState(
            b1=jnp.asarray(self.b1, state.b1.dtype),
            weight_sum=total.astype(state.weight_sum.dtype),
            step_count=increment(state.step_count),
            max_lr=max_lr.astype(state.max_lr.dtype),
            base_optimizer_state=base_state,
            z=z,
        )

    def eval_params(self, state, params):
        return _average(state.b1, state.z, params)

    def parts(self, state):
        return {"base_optimizer": (self.base_optimizer, state.base_optimizer_state)}


schedule_free = ScheduleFree


@checked
def schedule_free_eval_params(state: PyTree, params: PyTree) -> PyTree:
    """Return the average of the base optimizer's points, to evaluate and to keep.

        x = y + (1 / b1 - 1) (y - z),  y = params

        params = jopt.schedule_free_eval_params(opt_state, params)

    Training continues with the params themselves. Works under jit and vmap.

    Args:
      state: state of `schedule_free`, or of a transformation of jopt or optax that
        holds it, such as a chain.
      params: the params that the last update made, not an average already.

    Returns:
      A tree like `params`.

    Raises:
      ValueError: if `state` does not hold exactly one state of `schedule_free`.
    """
    nodes = jax.tree.leaves(state, is_leaf=_is_schedule_free)
    found = [node for node in nodes if _is_schedule_free(node)]
    if len(found) != 1:
        raise ValueError(
            "schedule_free_eval_params: the state must hold one ScheduleFreeState, got "
            f"{len(found)}; give the optimizer's state first, the params second."
        )
    z = found[0].z if isinstance(params, Buckets) else unpack(found[0].z)
    return _average(found[0].b1, z, params)


def _is_schedule_free(node: object) -> bool:
    return hasattr(node, "b1") and hasattr(node, "z") and hasattr(node, "weight_sum")


@jax.jit
def _average(b1: jax.Array, z: PyTree, params: PyTree) -> PyTree:
    beyond = 1 / wide(b1) - 1
    return map_leaves(lambda y, z: y + beyond * (y - z), params, z)


def _power(base, exponent):
    """Return base ** exponent; its gradient at a base of 0 is zero, not infinity."""
    positive = base > 0
    at_zero = jnp.where(exponent == 0, 1.0, 0.0)
    return jnp.where(positive, jnp.where(positive, base, 1) ** exponent, at_zero)
