"""Building blocks: transformations that optimizers are chained of."""

from jopt.transforms.clipping import (
    Clip as Clip,
    ClipByGlobalNorm as ClipByGlobalNorm,
    clip as clip,
    clip_by_global_norm as clip_by_global_norm,
)
from jopt.transforms.decay import (
    AddDecayedWeights as AddDecayedWeights,
    WeightDecaySchedule as WeightDecaySchedule,
    add_decayed_weights as add_decayed_weights,
)
from jopt.transforms.momentum import (
    Ema as Ema,
    EmaState as EmaState,
    Trace as Trace,
    TraceState as TraceState,
    ema as ema,
    trace as trace,
)
from jopt.transforms.rate import (
    Scale as Scale,
    ScaleByLearningRate as ScaleByLearningRate,
    ScaleBySchedule as ScaleBySchedule,
    ScaleByScheduleState as ScaleByScheduleState,
    scale as scale,
    scale_by_learning_rate as scale_by_learning_rate,
    scale_by_schedule as scale_by_schedule,
)
from jopt.transforms.trivial import (
    Identity as Identity,
    SetToZero as SetToZero,
    identity as identity,
    set_to_zero as set_to_zero,
)
