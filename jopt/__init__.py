"""jopt: optimizers as data, and sweeps of many trainings in one compiled program."""

from jopt._chain import (
    Chain as Chain,
    chain as chain,
    named_chain as named_chain,
)
from jopt._core import (
    EmptyState as EmptyState,
    GradientTransformation as GradientTransformation,
)
from jopt._hyperparameters import (
    hyperparameters as hyperparameters,
    replace as replace,
)
from jopt._leaves import (
    apply_updates as apply_updates,
    global_norm as global_norm,
)
from jopt._pytree import (
    check as check,
    pytree as pytree,
    static as static,
)
from jopt.optimizers import (
    ScaleByAdam as ScaleByAdam,
    ScaleByAdamState as ScaleByAdamState,
    ScaleByAmsgrad as ScaleByAmsgrad,
    ScaleByAmsgradState as ScaleByAmsgradState,
    ScaleByLion as ScaleByLion,
    ScaleByLionState as ScaleByLionState,
    ScaleByRms as ScaleByRms,
    ScaleByRmsState as ScaleByRmsState,
    ScaleByRmsWithCountState as ScaleByRmsWithCountState,
    ScaleByRss as ScaleByRss,
    ScaleByRssState as ScaleByRssState,
    ScaleByRStdDevState as ScaleByRStdDevState,
    ScaleByRStdDevWithCountState as ScaleByRStdDevWithCountState,
    ScaleByStddev as ScaleByStddev,
    adagrad as adagrad,
    adam as adam,
    adamw as adamw,
    amsgrad as amsgrad,
    lion as lion,
    nadam as nadam,
    nadamw as nadamw,
    rmsprop as rmsprop,
    scale_by_adam as scale_by_adam,
    scale_by_amsgrad as scale_by_amsgrad,
    scale_by_lion as scale_by_lion,
    scale_by_rms as scale_by_rms,
    scale_by_rss as scale_by_rss,
    scale_by_stddev as scale_by_stddev,
    sgd as sgd,
)
from jopt.schedules import (
    ConstantSchedule as ConstantSchedule,
    CosineDecaySchedule as CosineDecaySchedule,
    ExponentialDecay as ExponentialDecay,
    FunctionSchedule as FunctionSchedule,
    JoinedSchedules as JoinedSchedules,
    LinearSchedule as LinearSchedule,
    PiecewiseConstantSchedule as PiecewiseConstantSchedule,
    PolynomialSchedule as PolynomialSchedule,
    ScalarOrSchedule as ScalarOrSchedule,
    Schedule as Schedule,
    WarmupCosineDecaySchedule as WarmupCosineDecaySchedule,
    constant_schedule as constant_schedule,
    cosine_decay_schedule as cosine_decay_schedule,
    exponential_decay as exponential_decay,
    join_schedules as join_schedules,
    linear_schedule as linear_schedule,
    piecewise_constant_schedule as piecewise_constant_schedule,
    polynomial_schedule as polynomial_schedule,
    warmup_cosine_decay_schedule as warmup_cosine_decay_schedule,
)
from jopt.training import (
    Metrics as Metrics,
    TrainState as TrainState,
    train_step as train_step,
)
from jopt.transforms import (
    AddDecayedWeights as AddDecayedWeights,
    Clip as Clip,
    ClipByGlobalNorm as ClipByGlobalNorm,
    Ema as Ema,
    EmaState as EmaState,
    Identity as Identity,
    Scale as Scale,
    ScaleByLearningRate as ScaleByLearningRate,
    ScaleBySchedule as ScaleBySchedule,
    ScaleByScheduleState as ScaleByScheduleState,
    SetToZero as SetToZero,
    Trace as Trace,
    TraceState as TraceState,
    WeightDecaySchedule as WeightDecaySchedule,
    add_decayed_weights as add_decayed_weights,
    clip as clip,
    clip_by_global_norm as clip_by_global_norm,
    ema as ema,
    identity as identity,
    scale as scale,
    scale_by_learning_rate as scale_by_learning_rate,
    scale_by_schedule as scale_by_schedule,
    set_to_zero as set_to_zero,
    trace as trace,
)
from jopt.wrappers import (
    Lifted as Lifted,
    lift as lift,
    to_optax as to_optax,
)

__version__ = "0.1.0"
