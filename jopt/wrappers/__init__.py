"""Transformations that hold an inner transformation, jopt's or another library's."""

from jopt.wrappers._accumulate import (
    MultiSteps,
    MultiStepsState,
    ShouldSkipUpdateFunction,
    accumulate,
    skip_large_updates,
    skip_not_finite,
)
from jopt.wrappers._averaging import (
    ParameterEma,
    ParameterEmaState,
    ema_params,
    parameter_ema,
)
from jopt.wrappers._cautious import Cautious, cautious
from jopt.wrappers._coded_arrays import Coded as Coded, is_coded as is_coded
from jopt.wrappers._conditional import (
    ConditionallyMask,
    ConditionallyMaskState,
    ConditionallyTransform,
    ConditionallyTransformState,
    ConditionFn,
    conditionally_mask,
    conditionally_transform,
)
from jopt.wrappers._finite import ApplyIfFinite, ApplyIfFiniteState, apply_if_finite
from jopt.wrappers._flatten import Flatten, flatten
from jopt.wrappers._freeze import freeze, selective_transform
from jopt.wrappers._inject import (
    InjectHyperparams,
    InjectHyperparamsState,
    InjectStatefulHyperparamsState,
    WrappedSchedule,
    WrappedScheduleState,
    inject_hyperparams,
    inject_stateful_hyperparams,
)
from jopt.wrappers._kahan import Kahan, KahanState, kahan
from jopt.wrappers._lookahead import (
    Lookahead,
    LookaheadParams,
    LookaheadState,
    lookahead,
    lookahead_eval_params,
)
from jopt.wrappers._low_bit import Companded, Dynamic, LowBit, LowBitState, low_bit
from jopt.wrappers._low_precision import move as move, rounded as rounded
from jopt.wrappers._masked import Masked, MaskedNode, MaskedState, masked
from jopt.wrappers._master import MasterWeights, MasterWeightsState, master_weights
from jopt.wrappers._mechanize import MechanicState, Mechanize, mechanize
from jopt.wrappers._monitor import (
    Measure,
    MeasureWithEma,
    Monitor,
    MonitorState,
    Snapshot,
    SnapshotState,
    measure_with_ema,
    monitor,
    snapshot,
)
from jopt.wrappers._partition import (
    MultiTransformState,
    Partition,
    PartitionState,
    multi_transform,
    partition,
)
from jopt.wrappers._sam import Normalize, NormalizeState, Sam, SAMState, normalize, sam
from jopt.wrappers._schedule_free import (
    ScheduleFree,
    ScheduleFreeState,
    schedule_free,
    schedule_free_eval_params,
)
from jopt.wrappers._stochastic_rounding import (
    StochasticRounding,
    StochasticRoundingState,
    stochastic_rounding,
)

__all__ = [
    "ApplyIfFinite",
    "ApplyIfFiniteState",
    "Cautious",
    "Companded",
    "ConditionFn",
    "ConditionallyMask",
    "ConditionallyMaskState",
    "ConditionallyTransform",
    "ConditionallyTransformState",
    "Dynamic",
    "Flatten",
    "InjectHyperparams",
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "Kahan",
    "KahanState",
    "Lookahead",
    "LookaheadParams",
    "LookaheadState",
    "LowBit",
    "LowBitState",
    "Masked",
    "MaskedNode",
    "MaskedState",
    "MasterWeights",
    "MasterWeightsState",
    "Measure",
    "MeasureWithEma",
    "MechanicState",
    "Mechanize",
    "Monitor",
    "MonitorState",
    "MultiSteps",
    "MultiStepsState",
    "MultiTransformState",
    "Normalize",
    "NormalizeState",
    "ParameterEma",
    "ParameterEmaState",
    "Partition",
    "PartitionState",
    "SAMState",
    "Sam",
    "ScheduleFree",
    "ScheduleFreeState",
    "ShouldSkipUpdateFunction",
    "Snapshot",
    "SnapshotState",
    "StochasticRounding",
    "StochasticRoundingState",
    "WrappedSchedule",
    "WrappedScheduleState",
    "accumulate",
    "apply_if_finite",
    "cautious",
    "conditionally_mask",
    "conditionally_transform",
    "ema_params",
    "flatten",
    "freeze",
    "inject_hyperparams",
    "inject_stateful_hyperparams",
    "kahan",
    "lookahead",
    "lookahead_eval_params",
    "low_bit",
    "masked",
    "master_weights",
    "measure_with_ema",
    "mechanize",
    "monitor",
    "multi_transform",
    "normalize",
    "parameter_ema",
    "partition",
    "sam",
    "schedule_free",
    "schedule_free_eval_params",
    "selective_transform",
    "skip_large_updates",
    "skip_not_finite",
    "snapshot",
    "stochastic_rounding",
]
