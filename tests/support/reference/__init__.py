"""optax's names in NumPy and float64, with each algorithm as its paper has it.

The modules are named by the rooms and files of jopt: `transforms.py` has the references
of `jopt/transforms/`, and `optimizers/adam.py` those of `jopt/optimizers/_adam.py`.

A transformation here is a function of a whole run. It takes trees of gradients and of
params whose axis 0 is the step, and returns the updates and states of every step. A
schedule is a function of the step. Numbers are rounded to float32, because jopt is
given them as data.
"""

from reference.core import chain as chain, named_chain as named_chain
from reference.optimizers.adabelief import (
    adabelief as adabelief,
    scale_by_belief as scale_by_belief,
)
from reference.optimizers.adadelta import (
    adadelta as adadelta,
    scale_by_adadelta as scale_by_adadelta,
)
from reference.optimizers.adafactor import (
    adafactor as adafactor,
    scale_by_factored_rms as scale_by_factored_rms,
)
from reference.optimizers.adagrad import (
    adagrad as adagrad,
    scale_by_rss as scale_by_rss,
)
from reference.optimizers.adam import (
    adam as adam,
    adamw as adamw,
    nadam as nadam,
    nadamw as nadamw,
    scale_by_adam as scale_by_adam,
)
from reference.optimizers.adamax import (
    adamax as adamax,
    adamaxw as adamaxw,
    scale_by_adamax as scale_by_adamax,
)
from reference.optimizers.adan import adan as adan, scale_by_adan as scale_by_adan
from reference.optimizers.ademamix import (
    ademamix as ademamix,
    scale_by_ademamix as scale_by_ademamix,
)
from reference.optimizers.adopt import adopt as adopt, scale_by_adopt as scale_by_adopt
from reference.optimizers.amsgrad import (
    amsgrad as amsgrad,
    scale_by_amsgrad as scale_by_amsgrad,
)
from reference.optimizers.cocob import cocob as cocob, scale_by_cocob as scale_by_cocob
from reference.optimizers.dadapt import dadapt_adamw as dadapt_adamw
from reference.optimizers.dog import (
    dog as dog,
    scale_by_distance_over_gradients as scale_by_distance_over_gradients,
)
from reference.optimizers.dowg import dowg as dowg
from reference.optimizers.fromage import fromage as fromage
from reference.optimizers.kron import kron as kron, scale_by_kron as scale_by_kron
from reference.optimizers.lamb import lamb as lamb
from reference.optimizers.lars import lars as lars
from reference.optimizers.lion import lion as lion, scale_by_lion as scale_by_lion
from reference.optimizers.madgrad import (
    madgrad as madgrad,
    scale_by_madgrad as scale_by_madgrad,
)
from reference.optimizers.mars import mars as mars, scale_by_mars as scale_by_mars
from reference.optimizers.momo import momo as momo, momo_adam as momo_adam
from reference.optimizers.muon import muon as muon, scale_by_muon as scale_by_muon
from reference.optimizers.normuon import (
    normalize_neurons as normalize_neurons,
    normuon as normuon,
)
from reference.optimizers.novograd import (
    novograd as novograd,
    scale_by_novograd as scale_by_novograd,
)
from reference.optimizers.optimistic import (
    optimistic_adam_v2 as optimistic_adam_v2,
    optimistic_gradient_descent as optimistic_gradient_descent,
    scale_by_optimistic_gradient as scale_by_optimistic_gradient,
)
from reference.optimizers.polyak import (
    polyak_sgd as polyak_sgd,
    scale_by_polyak as scale_by_polyak,
)
from reference.optimizers.prodigy import prodigy as prodigy
from reference.optimizers.radam import radam as radam, scale_by_radam as scale_by_radam
from reference.optimizers.rmsprop import (
    rmsprop as rmsprop,
    scale_by_rms as scale_by_rms,
    scale_by_stddev as scale_by_stddev,
)
from reference.optimizers.rprop import rprop as rprop, scale_by_rprop as scale_by_rprop
from reference.optimizers.schedule_free import (
    schedule_free_adamw as schedule_free_adamw,
    schedule_free_sgd as schedule_free_sgd,
)
from reference.optimizers.sgd import sgd as sgd
from reference.optimizers.shampoo import (
    scale_by_shampoo as scale_by_shampoo,
    shampoo as shampoo,
)
from reference.optimizers.sign import (
    scale_by_sign as scale_by_sign,
    sign_sgd as sign_sgd,
    signum as signum,
)
from reference.optimizers.simplified_ademamix import (
    scale_by_simplified_ademamix as scale_by_simplified_ademamix,
    simplified_ademamix as simplified_ademamix,
)
from reference.optimizers.sm3 import scale_by_sm3 as scale_by_sm3, sm3 as sm3
from reference.optimizers.soap import scale_by_soap as scale_by_soap, soap as soap
from reference.optimizers.stable_adamw import stable_adamw as stable_adamw
from reference.optimizers.yogi import scale_by_yogi as scale_by_yogi, yogi as yogi
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
from reference.transforms import (
    MuonDimensionNumbers as MuonDimensionNumbers,
    adaptive_grad_clip as adaptive_grad_clip,
    add_adaptive_decay as add_adaptive_decay,
    add_decayed_weights as add_decayed_weights,
    add_l1_subgradient as add_l1_subgradient,
    apply_every as apply_every,
    centralize as centralize,
    clip as clip,
    clip_by_block_rms as clip_by_block_rms,
    clip_by_global_norm as clip_by_global_norm,
    ema as ema,
    identity as identity,
    keep_params_nonnegative as keep_params_nonnegative,
    normalize_by_update_norm as normalize_by_update_norm,
    proximal_l1 as proximal_l1,
    reduce_on_plateau as reduce_on_plateau,
    scale as scale,
    scale_by_learning_rate as scale_by_learning_rate,
    scale_by_param_block_norm as scale_by_param_block_norm,
    scale_by_param_block_rms as scale_by_param_block_rms,
    scale_by_schedule as scale_by_schedule,
    scale_by_trust_ratio as scale_by_trust_ratio,
    scale_leaves as scale_leaves,
    set_to_zero as set_to_zero,
    stateless as stateless,
    stateless_with_tree_map as stateless_with_tree_map,
    trace as trace,
    zero_nans as zero_nans,
)
from reference.wrappers import (
    MultiSteps as MultiSteps,
    apply_if_finite as apply_if_finite,
    cautious as cautious,
    conditionally_mask as conditionally_mask,
    conditionally_transform as conditionally_transform,
    flatten as flatten,
    freeze as freeze,
    inject_hyperparams as inject_hyperparams,
    masked as masked,
    measure_with_ema as measure_with_ema,
    mechanize as mechanize,
    monitor as monitor,
    normalize as normalize,
    parameter_ema as parameter_ema,
    partition as partition,
    sam as sam,
    schedule_free as schedule_free,
    selective_transform as selective_transform,
    snapshot as snapshot,
)
