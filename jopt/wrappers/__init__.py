"""What holds an inner transformation, or another library's."""

from jopt.wrappers.accumulate import (
    MultiSteps as MultiSteps,
    MultiStepsState as MultiStepsState,
    ShouldSkipUpdateFunction as ShouldSkipUpdateFunction,
    accumulate as accumulate,
    skip_large_updates as skip_large_updates,
    skip_not_finite as skip_not_finite,
)
from jopt.wrappers.averaging import (
    ParameterEma as ParameterEma,
    ParameterEmaState as ParameterEmaState,
    ema_params as ema_params,
    parameter_ema as parameter_ema,
)
from jopt.wrappers.cautious import Cautious as Cautious, cautious as cautious
from jopt.wrappers.conditional import (
    ConditionallyMask as ConditionallyMask,
    ConditionallyMaskState as ConditionallyMaskState,
    ConditionallyTransform as ConditionallyTransform,
    ConditionallyTransformState as ConditionallyTransformState,
    ConditionFn as ConditionFn,
    conditionally_mask as conditionally_mask,
    conditionally_transform as conditionally_transform,
)
from jopt.wrappers.finite import (
    ApplyIfFinite as ApplyIfFinite,
    ApplyIfFiniteState as ApplyIfFiniteState,
    apply_if_finite as apply_if_finite,
)
from jopt.wrappers.flatten import Flatten as Flatten, flatten as flatten
from jopt.wrappers.freeze import (
    freeze as freeze,
    selective_transform as selective_transform,
)
from jopt.wrappers.inject import (
    InjectHyperparams as InjectHyperparams,
    InjectHyperparamsState as InjectHyperparamsState,
    InjectStatefulHyperparamsState as InjectStatefulHyperparamsState,
    WrappedSchedule as WrappedSchedule,
    WrappedScheduleState as WrappedScheduleState,
    inject_hyperparams as inject_hyperparams,
    inject_stateful_hyperparams as inject_stateful_hyperparams,
)
from jopt.wrappers.kahan import Kahan as Kahan, KahanState as KahanState, kahan as kahan
from jopt.wrappers.lbfgs import (
    lbfgs as lbfgs,
    scale_by_backtracking_linesearch as scale_by_backtracking_linesearch,
    scale_by_lbfgs as scale_by_lbfgs,
    scale_by_zoom_linesearch as scale_by_zoom_linesearch,
)
from jopt.wrappers.lift import Lifted as Lifted, lift as lift, to_optax as to_optax
from jopt.wrappers.lifted import (
    acprop as acprop,
    differentially_private_aggregate as differentially_private_aggregate,
    dpsgd as dpsgd,
    galore as galore,
    hutchinson_estimator_diag_hessian as hutchinson_estimator_diag_hessian,
    scale_by_acprop as scale_by_acprop,
    scale_by_galore as scale_by_galore,
    sophia as sophia,
    split_real_and_imaginary as split_real_and_imaginary,
)
from jopt.wrappers.lookahead import (
    Lookahead as Lookahead,
    LookaheadParams as LookaheadParams,
    LookaheadState as LookaheadState,
    lookahead as lookahead,
    lookahead_eval_params as lookahead_eval_params,
)
from jopt.wrappers.low_bit import (
    Companded as Companded,
    Dynamic as Dynamic,
    LowBit as LowBit,
    LowBitState as LowBitState,
    low_bit as low_bit,
)
from jopt.wrappers.masked import (
    Masked as Masked,
    MaskedNode as MaskedNode,
    MaskedState as MaskedState,
    masked as masked,
)
from jopt.wrappers.master import (
    MasterWeights as MasterWeights,
    MasterWeightsState as MasterWeightsState,
    master_weights as master_weights,
)
from jopt.wrappers.mechanize import (
    MechanicState as MechanicState,
    Mechanize as Mechanize,
    mechanize as mechanize,
)
from jopt.wrappers.monitor import (
    Measure as Measure,
    MeasureWithEma as MeasureWithEma,
    Monitor as Monitor,
    MonitorState as MonitorState,
    Snapshot as Snapshot,
    SnapshotState as SnapshotState,
    measure_with_ema as measure_with_ema,
    monitor as monitor,
    snapshot as snapshot,
)
from jopt.wrappers.partition import (
    MultiTransformState as MultiTransformState,
    Partition as Partition,
    PartitionState as PartitionState,
    multi_transform as multi_transform,
    partition as partition,
)
from jopt.wrappers.sam import (
    Normalize as Normalize,
    NormalizeState as NormalizeState,
    Sam as Sam,
    SAMState as SAMState,
    normalize as normalize,
    sam as sam,
)
from jopt.wrappers.schedule_free import (
    ScheduleFree as ScheduleFree,
    ScheduleFreeState as ScheduleFreeState,
    schedule_free as schedule_free,
    schedule_free_eval_params as schedule_free_eval_params,
)
from jopt.wrappers.stochastic_rounding import (
    StochasticRounding as StochasticRounding,
    StochasticRoundingState as StochasticRoundingState,
    stochastic_rounding as stochastic_rounding,
)
