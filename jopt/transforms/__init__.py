"""Building blocks: transformations that optimizers chain together."""

from typing import Any

from jopt.core import chain, late as late, named_chain
from jopt.transforms._apply_every import ApplyEvery, ApplyEveryState, apply_every
from jopt.transforms._averaging import incremental_update, periodic_update
from jopt.transforms._block_clipping import (
    AdaptiveGradClip,
    AdaptiveGradClipState,
    ClipByBlockRms,
    adaptive_grad_clip,
    clip_by_block_rms,
    unitwise_clip,
    unitwise_norm,
)
from jopt.transforms._clipping import (
    Clip,
    ClipByGlobalNorm,
    ClipByGlobalNormState,
    ClipState,
    clip,
    clip_by_global_norm,
)
from jopt.transforms._constraints import (
    KeepParamsNonnegative,
    NonNegativeParamsState,
    ZeroNans,
    ZeroNansState,
    keep_params_nonnegative,
    zero_nans,
)
from jopt.transforms._decay import (
    AdaptiveDecayState,
    AddAdaptiveDecay,
    AddDecayedWeights,
    AddDecayedWeightsState,
    WeightDecaySchedule,
    add_adaptive_decay,
    add_decayed_weights,
)
from jopt.transforms._matrix_dimensions import (
    Dimensions as Dimensions,
    MuonDimensionNumbers,
    as_dimensions as as_dimensions,
    matrices_of as matrices_of,
)
from jopt.transforms._momentum import Ema, EmaState, Trace, TraceState, ema, trace
from jopt.transforms._newton_schulz import (
    QUINTIC as QUINTIC,
    Preconditioning as Preconditioning,
    as_coefficients as as_coefficients,
)
from jopt.transforms._noise import AddNoise, AddNoiseState, add_noise
from jopt.transforms._norms import (
    Centralize,
    NormalizeByUpdateNorm,
    ScaleByParamBlockNorm,
    ScaleByParamBlockRms,
    ScaleByTrustRatio,
    ScaleByTrustRatioState,
    centralize,
    normalize_by_update_norm,
    scale_by_param_block_norm,
    scale_by_param_block_rms,
    scale_by_trust_ratio,
)
from jopt.transforms._orthogonalize import Orthogonalize, orthogonalize
from jopt.transforms._per_example import (
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
)
from jopt.transforms._plateau import (
    ReduceLROnPlateauState,
    ReduceOnPlateau,
    reduce_on_plateau,
)
from jopt.transforms._projection import Project, project
from jopt.transforms._proximal import (
    AddL1Subgradient,
    ProximalL1,
    ProximalL1State,
    add_l1_subgradient,
    proximal_l1,
)
from jopt.transforms._rate import (
    Scale,
    ScaleByLearningRate,
    ScaleBySchedule,
    ScaleByScheduleState,
    ScaleState,
    scale,
    scale_by_learning_rate,
    scale_by_schedule,
)
from jopt.transforms._scale_leaves import ScaleLeaves, scale_leaves
from jopt.transforms._shape import ScaleByShape, scale_by_shape
from jopt.transforms._stateless import (
    Identity,
    SetToZero,
    Stateless,
    StatelessWithTreeMap,
    identity,
    set_to_zero,
    stateless,
    stateless_with_tree_map,
)

__all__ = [
    "AdaptiveDecayState",
    "AdaptiveGradClip",
    "AdaptiveGradClipState",
    "AddAdaptiveDecay",
    "AddDecayedWeights",
    "AddDecayedWeightsState",
    "AddL1Subgradient",
    "AddNoise",
    "AddNoiseState",
    "ApplyEvery",
    "ApplyEveryState",
    "Centralize",
    "Clip",
    "ClipByBlockRms",
    "ClipByGlobalNorm",
    "ClipByGlobalNormState",
    "ClipState",
    "Ema",
    "EmaState",
    "Identity",
    "KeepParamsNonnegative",
    "MuonDimensionNumbers",
    "NonNegativeParamsState",
    "NormalizeByUpdateNorm",
    "Orthogonalize",
    "Project",
    "ProximalL1",
    "ProximalL1State",
    "ReduceLROnPlateauState",
    "ReduceOnPlateau",
    "Scale",
    "ScaleByLearningRate",
    "ScaleByParamBlockNorm",
    "ScaleByParamBlockRms",
    "ScaleBySchedule",
    "ScaleByScheduleState",
    "ScaleByShape",
    "ScaleByTrustRatio",
    "ScaleByTrustRatioState",
    "ScaleLeaves",
    "ScaleState",
    "SetToZero",
    "Stateless",
    "StatelessWithTreeMap",
    "Trace",
    "TraceState",
    "WeightDecaySchedule",
    "ZeroNans",
    "ZeroNansState",
    "adaptive_grad_clip",
    "add_adaptive_decay",
    "add_decayed_weights",
    "add_l1_subgradient",
    "add_noise",
    "apply_every",
    "centralize",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "ema",
    "identity",
    "incremental_update",
    "keep_params_nonnegative",
    "named_chain",
    "normalize_by_update_norm",
    "orthogonalize",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "periodic_update",
    "project",
    "proximal_l1",
    "reduce_on_plateau",
    "scale",
    "scale_by_learning_rate",
    "scale_by_param_block_norm",
    "scale_by_param_block_rms",
    "scale_by_schedule",
    "scale_by_shape",
    "scale_by_trust_ratio",
    "scale_leaves",
    "set_to_zero",
    "stateless",
    "stateless_with_tree_map",
    "trace",
    "unitwise_clip",
    "unitwise_norm",
    "zero_nans",
]


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


__getattr__, __dir__ = late(__name__, _HIGHER, _find)
