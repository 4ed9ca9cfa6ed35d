"""Schedules: pytrees of numbers, called with the step."""

from typing import Any

from jopt._from_optax import late as _late
from jopt.schedules._schedule import (
    FunctionSchedule as FunctionSchedule,
    ScalarOrSchedule as ScalarOrSchedule,
    Schedule as Schedule,
    as_schedule as as_schedule,
    value_at as value_at,
)
from jopt.schedules.decay import (
    ConstantSchedule as ConstantSchedule,
    CosineDecaySchedule as CosineDecaySchedule,
    ExponentialDecay as ExponentialDecay,
    LinearSchedule as LinearSchedule,
    PolynomialSchedule as PolynomialSchedule,
    constant_schedule as constant_schedule,
    cosine_decay_schedule as cosine_decay_schedule,
    exponential_decay as exponential_decay,
    linear_schedule as linear_schedule,
    polynomial_schedule as polynomial_schedule,
)
from jopt.schedules.endless import (
    InverseSqrtSchedule as InverseSqrtSchedule,
    WarmupExponentialDecaySchedule as WarmupExponentialDecaySchedule,
    inverse_sqrt_schedule as inverse_sqrt_schedule,
    warmup_exponential_decay_schedule as warmup_exponential_decay_schedule,
)
from jopt.schedules.joined import (
    JoinedSchedules as JoinedSchedules,
    SgdrSchedule as SgdrSchedule,
    join_schedules as join_schedules,
    sgdr_schedule as sgdr_schedule,
)
from jopt.schedules.onecycle import (
    CosineOnecycleSchedule as CosineOnecycleSchedule,
    LinearOnecycleSchedule as LinearOnecycleSchedule,
    cosine_onecycle_schedule as cosine_onecycle_schedule,
    linear_onecycle_schedule as linear_onecycle_schedule,
)
from jopt.schedules.piecewise import (
    PiecewiseConstantSchedule as PiecewiseConstantSchedule,
    PiecewiseInterpolateSchedule as PiecewiseInterpolateSchedule,
    piecewise_constant_schedule as piecewise_constant_schedule,
    piecewise_interpolate_schedule as piecewise_interpolate_schedule,
)
from jopt.schedules.stable import (
    WarmupStableDecaySchedule as WarmupStableDecaySchedule,
    warmup_stable_decay_schedule as warmup_stable_decay_schedule,
)
from jopt.schedules.warmup import (
    WarmupCosineDecaySchedule as WarmupCosineDecaySchedule,
    WarmupLinearDecaySchedule as WarmupLinearDecaySchedule,
    warmup_constant_schedule as warmup_constant_schedule,
    warmup_cosine_decay_schedule as warmup_cosine_decay_schedule,
    warmup_linear_decay_schedule as warmup_linear_decay_schedule,
)

# optax has these names in `optax.schedules`; jopt's are in a higher room.
_HIGHER = (
    "StatefulSchedule",
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "WrappedSchedule",
    "inject_hyperparams",
    "inject_stateful_hyperparams",
)


def _find(name: str) -> Any:
    import jopt

    return getattr(jopt, name)


__getattr__, __dir__ = _late(__name__, _HIGHER, _find)
