"""The names of `optax.contrib`. Each is also a name of jopt itself."""

from jopt.core import late as _late
from jopt.interop import (
    CONTRIB_NAMES as _CONTRIB_NAMES,
    acprop as acprop,
    differentially_private_aggregate as differentially_private_aggregate,
    dpsgd as dpsgd,
    find_in_optax as _find_in_optax,
    galore as galore,
    hutchinson_estimator_diag_hessian as hutchinson_estimator_diag_hessian,
    scale_by_acprop as scale_by_acprop,
    scale_by_galore as scale_by_galore,
    sophia as sophia,
    split_real_and_imaginary as split_real_and_imaginary,
)
from jopt.optimizers import (
    COCOBState as COCOBState,
    DAdaptAdamWState as DAdaptAdamWState,
    DoGState as DoGState,
    DoWGState as DoWGState,
    MadgradState as MadgradState,
    MomoAdamState as MomoAdamState,
    MomoState as MomoState,
    MuonState as MuonState,
    ProdigyState as ProdigyState,
    ScaleByAdemamixState as ScaleByAdemamixState,
    ScaleBySimplifiedAdEMAMixState as ScaleBySimplifiedAdEMAMixState,
    ademamix as ademamix,
    adopt as adopt,
    cocob as cocob,
    dadapt_adamw as dadapt_adamw,
    dog as dog,
    dowg as dowg,
    madgrad as madgrad,
    momo as momo,
    momo_adam as momo_adam,
    muon as muon,
    prodigy as prodigy,
    scale_by_ademamix as scale_by_ademamix,
    scale_by_adopt as scale_by_adopt,
    scale_by_cocob as scale_by_cocob,
    scale_by_madgrad as scale_by_madgrad,
    scale_by_muon as scale_by_muon,
    scale_by_simplified_ademamix as scale_by_simplified_ademamix,
    schedule_free_adamw as schedule_free_adamw,
    schedule_free_sgd as schedule_free_sgd,
    simplified_ademamix as simplified_ademamix,
)
from jopt.transforms import (
    MuonDimensionNumbers as MuonDimensionNumbers,
    ReduceLROnPlateauState as ReduceLROnPlateauState,
    reduce_on_plateau as reduce_on_plateau,
)
from jopt.wrappers import (
    MechanicState as MechanicState,
    NormalizeState as NormalizeState,
    SAMState as SAMState,
    ScheduleFreeState as ScheduleFreeState,
    mechanize as mechanize,
    normalize as normalize,
    sam as sam,
    schedule_free as schedule_free,
    schedule_free_eval_params as schedule_free_eval_params,
)

__getattr__, __dir__ = _late(__name__, _CONTRIB_NAMES, _find_in_optax)
