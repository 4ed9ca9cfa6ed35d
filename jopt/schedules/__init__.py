"""Schedules: pytrees of numbers, called with the step."""

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
from jopt.schedules.joined import (
    JoinedSchedules as JoinedSchedules,
    PiecewiseConstantSchedule as PiecewiseConstantSchedule,
    WarmupCosineDecaySchedule as WarmupCosineDecaySchedule,
    join_schedules as join_schedules,
    piecewise_constant_schedule as piecewise_constant_schedule,
    warmup_cosine_decay_schedule as warmup_cosine_decay_schedule,
)
