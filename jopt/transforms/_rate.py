"""Multiplication by a number, a schedule or a learning rate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Number,
    ScalarOrSchedule,
    Schedule,
    as_schedule,
    check,
    field,
    increment,
    map_leaves,
    pytree,
    static,
    value_at,
)


class ScaleByScheduleState(NamedTuple):
    """The step of the schedule."""

    count: jax.Array  # int32[], updates made


@pytree
class Scale(GradientTransformation):
    """Multiply by a number.

        u = step_size g

    Args:
      step_size: any number; negative to descend.
    """

    step_size: Number

    shapeless = True

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        return map_leaves(lambda g: self.step_size * g, updates), state


@pytree
class ScaleBySchedule(GradientTransformation):
    """Multiply by a schedule's value.

        u = step_size_fn(t) g,  t = updates made before this one

    Args:
      step_size_fn: a schedule, or a function of the int32 step.
    """

    step_size_fn: ScalarOrSchedule = field(converter=as_schedule)

    shapeless = True

    def init(self, params):
        return ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(self, updates, state, params=None, **extra):
        size = value_at(self.step_size_fn, state.count)
        updates = map_leaves(lambda g: size * g, updates)
        return updates, ScaleByScheduleState(count=increment(state.count))


@pytree
class ScaleByLearningRate(GradientTransformation):
    """Multiply by minus the learning rate, as the last part of an optimizer.

        u = -learning_rate(t) g,  t = updates made before this one

    The state is empty for a number and holds the count for a schedule.

    Args:
      learning_rate: at least 0, in units of params per unit of the direction; a number
        or a schedule (or a function of the int32 step).
      flip_sign: whether to multiply by minus the rate; False multiplies by the rate.
    """

    learning_rate: ScalarOrSchedule = field(converter=as_schedule)
    flip_sign: bool = static(default=True, kw_only=True)

    shapeless = True

    def __post_init__(self):
        hint = "The minus of descent is added here; to ascend, negate the loss."
        check(self, "learning_rate", least=0, hint=hint)

    def init(self, params):
        if isinstance(self.learning_rate, Schedule):
            return ScaleByScheduleState(count=jnp.zeros((), jnp.int32))
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        scheduled = isinstance(self.learning_rate, Schedule)
        size = value_at(self.learning_rate, state.count if scheduled else None)
        rate = -size if self.flip_sign else size
        if scheduled:
            state = ScaleByScheduleState(count=increment(state.count))
        return map_leaves(lambda g: rate * g, updates), state


scale = Scale
scale_by_schedule = ScaleBySchedule
scale_by_learning_rate = ScaleByLearningRate
ScaleState = EmptyState
