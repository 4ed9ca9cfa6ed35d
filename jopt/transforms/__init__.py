"""Building blocks: transformations that optimizers are chained of."""

from typing import Any

from jopt._chain import chain as chain, named_chain as named_chain
from jopt._from_optax import late as _late
from jopt.transforms.apply_every import (
    ApplyEvery as ApplyEvery,
    ApplyEveryState as ApplyEveryState,
    apply_every as apply_every,
)
from jopt.transforms.averaging import (
    incremental_update as incremental_update,
    periodic_update as periodic_update,
)
from jopt.transforms.block_clipping import (
    AdaptiveGradClip as AdaptiveGradClip,
    AdaptiveGradClipState as AdaptiveGradClipState,
    ClipByBlockRms as ClipByBlockRms,
    adaptive_grad_clip as adaptive_grad_clip,
    clip_by_block_rms as clip_by_block_rms,
    unitwise_clip as unitwise_clip,
    unitwise_norm as unitwise_norm,
)
from jopt.transforms.clipping import (
    Clip as Clip,
    ClipByGlobalNorm as ClipByGlobalNorm,
    ClipByGlobalNormState as ClipByGlobalNormState,
    ClipState as ClipState,
    clip as clip,
    clip_by_global_norm as clip_by_global_norm,
)
from jopt.transforms.constraints import (
    KeepParamsNonnegative as KeepParamsNonnegative,
    NonNegativeParamsState as NonNegativeParamsState,
    ZeroNans as ZeroNans,
    ZeroNansState as ZeroNansState,
    keep_params_nonnegative as keep_params_nonnegative,
    zero_nans as zero_nans,
)
from jopt.transforms.decay import (
    AddDecayedWeights as AddDecayedWeights,
    AddDecayedWeightsState as AddDecayedWeightsState,
    WeightDecaySchedule as WeightDecaySchedule,
    add_decayed_weights as add_decayed_weights,
)
from jopt.transforms.dimensions import MuonDimensionNumbers as MuonDimensionNumbers
from jopt.transforms.momentum import (
    Ema as Ema,
    EmaState as EmaState,
    Trace as Trace,
    TraceState as TraceState,
    ema as ema,
    trace as trace,
)
from jopt.transforms.noise import (
    AddNoise as AddNoise,
    AddNoiseState as AddNoiseState,
    add_noise as add_noise,
)
from jopt.transforms.norms import (
    Centralize as Centralize,
    NormalizeByUpdateNorm as NormalizeByUpdateNorm,
    ScaleByParamBlockNorm as ScaleByParamBlockNorm,
    ScaleByParamBlockRms as ScaleByParamBlockRms,
    ScaleByTrustRatio as ScaleByTrustRatio,
    ScaleByTrustRatioState as ScaleByTrustRatioState,
    centralize as centralize,
    normalize_by_update_norm as normalize_by_update_norm,
    scale_by_param_block_norm as scale_by_param_block_norm,
    scale_by_param_block_rms as scale_by_param_block_rms,
    scale_by_trust_ratio as scale_by_trust_ratio,
)
from jopt.transforms.orthogonalize import (
    Orthogonalize as Orthogonalize,
    orthogonalize as orthogonalize,
)
from jopt.transforms.per_example import (
    per_example_global_norm_clip as per_example_global_norm_clip,
    per_example_layer_norm_clip as per_example_layer_norm_clip,
)
from jopt.transforms.plateau import (
    ReduceLROnPlateauState as ReduceLROnPlateauState,
    ReduceOnPlateau as ReduceOnPlateau,
    reduce_on_plateau as reduce_on_plateau,
)
from jopt.transforms.projection import Project as Project, project as project
from jopt.transforms.proximal import (
    AddL1Subgradient as AddL1Subgradient,
    ProximalL1 as ProximalL1,
    ProximalL1State as ProximalL1State,
    add_l1_subgradient as add_l1_subgradient,
    proximal_l1 as proximal_l1,
)
from jopt.transforms.rate import (
    Scale as Scale,
    ScaleByLearningRate as ScaleByLearningRate,
    ScaleBySchedule as ScaleBySchedule,
    ScaleByScheduleState as ScaleByScheduleState,
    ScaleState as ScaleState,
    scale as scale,
    scale_by_learning_rate as scale_by_learning_rate,
    scale_by_schedule as scale_by_schedule,
)
from jopt.transforms.shape import (
    ScaleByShape as ScaleByShape,
    scale_by_shape as scale_by_shape,
)
from jopt.transforms.stateless import (
    Stateless as Stateless,
    StatelessWithTreeMap as StatelessWithTreeMap,
    stateless as stateless,
    stateless_with_tree_map as stateless_with_tree_map,
)
from jopt.transforms.trivial import (
    Identity as Identity,
    SetToZero as SetToZero,
    identity as identity,
    set_to_zero as set_to_zero,
)

# optax has these names in `optax.transforms`; jopt's are in a higher room.
_HIGHER = (
    "ApplyIfFiniteState",
    "ConditionFn",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "MaskedNode",
    "MaskedState",
    "MonitorState",
    "MultiSteps",
    "MultiStepsState",
    "PartitionState",
    "ShouldSkipUpdateFunction",
    "SnapshotState",
    "apply_if_finite",
    "conditionally_mask",
    "conditionally_transform",
    "flatten",
    "freeze",
    "masked",
    "measure_with_ema",
    "monitor",
    "partition",
    "selective_transform",
    "skip_large_updates",
    "skip_not_finite",
    "snapshot",
)


def _find(name: str) -> Any:
    import jopt

    return getattr(jopt, name)


__getattr__, __dir__ = _late(__name__, _HIGHER, _find)
