"""Schedules: pytrees of numbers, called with the step."""

from typing import Any

from jopt.core import FunctionSchedule, ScalarOrSchedule, Schedule, late as late
from jopt.schedules._decay import (
    ConstantSchedule,
    CosineDecaySchedule,
    ExponentialDecay,
    LinearSchedule,
    PolynomialSchedule,
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    linear_schedule,
    polynomial_schedule,
)
from jopt.schedules._joined import (
    JoinedSchedules,
    SgdrSchedule,
    join_schedules,
    sgdr_schedule,
)
from jopt.schedules._onecycle import (
    CosineOnecycleSchedule,
    LinearOnecycleSchedule,
    cosine_onecycle_schedule,
    linear_onecycle_schedule,
)
from jopt.schedules._piecewise import (
    PiecewiseConstantSchedule,
    PiecewiseInterpolateSchedule,
    piecewise_constant_schedule,
    piecewise_interpolate_schedule,
)
from jopt.schedules._warmup import (
    InverseSqrtSchedule,
    WarmupCosineDecaySchedule,
    WarmupExponentialDecaySchedule,
    WarmupLinearDecaySchedule,
    WarmupStableDecaySchedule,
    inverse_sqrt_schedule,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
    warmup_linear_decay_schedule,
    warmup_stable_decay_schedule,
)

__all__ = [
    "ConstantSchedule",
    "CosineDecaySchedule",
    "CosineOnecycleSchedule",
    "ExponentialDecay",
    "FunctionSchedule",
    "InverseSqrtSchedule",
    "JoinedSchedules",
    "LinearOnecycleSchedule",
    "LinearSchedule",
    "PiecewiseConstantSchedule",
    "PiecewiseInterpolateSchedule",
    "PolynomialSchedule",
    "ScalarOrSchedule",
    "Schedule",
    "SgdrSchedule",
    "WarmupCosineDecaySchedule",
    "WarmupExponentialDecaySchedule",
    "WarmupLinearDecaySchedule",
    "WarmupStableDecaySchedule",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "exponential_decay",
    "inverse_sqrt_schedule",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_linear_decay_schedule",
    "warmup_stable_decay_schedule",
]


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


__getattr__, __dir__ = late(__name__, _HIGHER, _find)
