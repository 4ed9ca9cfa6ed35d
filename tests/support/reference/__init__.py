"""optax's names once more, in NumPy and float64, each algorithm as its paper has it.

A transformation here is a function of a whole run: trees of gradients and of params,
with the step as axis 0, to the updates and the states of every step. A schedule is a
function of the step. Numbers are those that float32 holds: jopt is given them as data.
"""

from reference.adabelief import (
    adabelief as adabelief,
    scale_by_belief as scale_by_belief,
)
from reference.adadelta import (
    adadelta as adadelta,
    scale_by_adadelta as scale_by_adadelta,
)
from reference.adafactor import (
    adafactor as adafactor,
    scale_by_factored_rms as scale_by_factored_rms,
)
from reference.adagrad import adagrad as adagrad, scale_by_rss as scale_by_rss
from reference.adam import (
    adam as adam,
    adamw as adamw,
    nadam as nadam,
    nadamw as nadamw,
    scale_by_adam as scale_by_adam,
)
from reference.adamax import (
    adamax as adamax,
    adamaxw as adamaxw,
    scale_by_adamax as scale_by_adamax,
)
from reference.adan import adan as adan, scale_by_adan as scale_by_adan
from reference.ademamix import (
    ademamix as ademamix,
    scale_by_ademamix as scale_by_ademamix,
    scale_by_simplified_ademamix as scale_by_simplified_ademamix,
    simplified_ademamix as simplified_ademamix,
)
from reference.adopt import adopt as adopt, scale_by_adopt as scale_by_adopt
from reference.amsgrad import amsgrad as amsgrad, scale_by_amsgrad as scale_by_amsgrad
from reference.blocks import (
    add_decayed_weights as add_decayed_weights,
    clip as clip,
    clip_by_global_norm as clip_by_global_norm,
    identity as identity,
    scale as scale,
    scale_by_learning_rate as scale_by_learning_rate,
    scale_by_schedule as scale_by_schedule,
    set_to_zero as set_to_zero,
)
from reference.constraints import (
    adaptive_grad_clip as adaptive_grad_clip,
    add_l1_subgradient as add_l1_subgradient,
    apply_every as apply_every,
    clip_by_block_rms as clip_by_block_rms,
    keep_params_nonnegative as keep_params_nonnegative,
    proximal_l1 as proximal_l1,
    stateless as stateless,
    stateless_with_tree_map as stateless_with_tree_map,
    zero_nans as zero_nans,
)
from reference.distance import dadapt_adamw as dadapt_adamw, prodigy as prodigy
from reference.kron import kron as kron, scale_by_kron as scale_by_kron
from reference.lion import lion as lion, scale_by_lion as scale_by_lion
from reference.masking import (
    freeze as freeze,
    masked as masked,
    partition as partition,
    selective_transform as selective_transform,
)
from reference.mechanize import mechanize as mechanize
from reference.momentum import ema as ema, sgd as sgd, trace as trace
from reference.muon import (
    MuonDimensionNumbers as MuonDimensionNumbers,
    muon as muon,
    normalize_neurons as normalize_neurons,
    normuon as normuon,
    scale_by_muon as scale_by_muon,
)
from reference.norms import (
    centralize as centralize,
    normalize_by_update_norm as normalize_by_update_norm,
    scale_by_param_block_norm as scale_by_param_block_norm,
    scale_by_param_block_rms as scale_by_param_block_rms,
)
from reference.novograd import (
    novograd as novograd,
    scale_by_novograd as scale_by_novograd,
)
from reference.optimistic import (
    optimistic_adam_v2 as optimistic_adam_v2,
    optimistic_gradient_descent as optimistic_gradient_descent,
    scale_by_optimistic_gradient as scale_by_optimistic_gradient,
)
from reference.parameter_free import (
    cocob as cocob,
    dog as dog,
    dowg as dowg,
    momo as momo,
    momo_adam as momo_adam,
    reduce_on_plateau as reduce_on_plateau,
    scale_by_cocob as scale_by_cocob,
    scale_by_distance_over_gradients as scale_by_distance_over_gradients,
)
from reference.polyak import (
    polyak_sgd as polyak_sgd,
    scale_by_polyak as scale_by_polyak,
)
from reference.radam import radam as radam, scale_by_radam as scale_by_radam
from reference.rmsprop import (
    rmsprop as rmsprop,
    scale_by_rms as scale_by_rms,
    scale_by_stddev as scale_by_stddev,
)
from reference.run import chain as chain, named_chain as named_chain
from reference.schedule_free import (
    schedule_free as schedule_free,
    schedule_free_adamw as schedule_free_adamw,
    schedule_free_sgd as schedule_free_sgd,
)
from reference.schedules import (
    constant_schedule as constant_schedule,
    cosine_decay_schedule as cosine_decay_schedule,
    cosine_onecycle_schedule as cosine_onecycle_schedule,
    exponential_decay as exponential_decay,
    inverse_sqrt_schedule as inverse_sqrt_schedule,
    join_schedules as join_schedules,
    linear_onecycle_schedule as linear_onecycle_schedule,
    linear_schedule as linear_schedule,
    piecewise_constant_schedule as piecewise_constant_schedule,
    piecewise_interpolate_schedule as piecewise_interpolate_schedule,
    polynomial_schedule as polynomial_schedule,
    sgdr_schedule as sgdr_schedule,
    warmup_constant_schedule as warmup_constant_schedule,
    warmup_cosine_decay_schedule as warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule as warmup_exponential_decay_schedule,
    warmup_linear_decay_schedule as warmup_linear_decay_schedule,
    warmup_stable_decay_schedule as warmup_stable_decay_schedule,
)
from reference.shampoo import scale_by_shampoo as scale_by_shampoo, shampoo as shampoo
from reference.signs import (
    rprop as rprop,
    scale_by_rprop as scale_by_rprop,
    scale_by_sign as scale_by_sign,
    sign_sgd as sign_sgd,
    signum as signum,
)
from reference.sm3 import scale_by_sm3 as scale_by_sm3, sm3 as sm3
from reference.soap import scale_by_soap as scale_by_soap, soap as soap
from reference.trust_ratio import (
    fromage as fromage,
    lamb as lamb,
    lars as lars,
    scale_by_trust_ratio as scale_by_trust_ratio,
)
from reference.variance import (
    cautious as cautious,
    madgrad as madgrad,
    mars as mars,
    normalize as normalize,
    sam as sam,
    scale_by_madgrad as scale_by_madgrad,
    scale_by_mars as scale_by_mars,
    stable_adamw as stable_adamw,
)
from reference.wrapping import (
    MultiSteps as MultiSteps,
    apply_if_finite as apply_if_finite,
    conditionally_mask as conditionally_mask,
    conditionally_transform as conditionally_transform,
    flatten as flatten,
    inject_hyperparams as inject_hyperparams,
    measure_with_ema as measure_with_ema,
    monitor as monitor,
    parameter_ema as parameter_ema,
    snapshot as snapshot,
)
from reference.yogi import scale_by_yogi as scale_by_yogi, yogi as yogi
