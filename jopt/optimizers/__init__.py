"""Optimizers: one algorithm a file, its transformation and the aliases built on it."""

from jopt.optimizers.adabelief import (
    ScaleByBelief as ScaleByBelief,
    ScaleByBeliefState as ScaleByBeliefState,
    adabelief as adabelief,
    scale_by_belief as scale_by_belief,
)
from jopt.optimizers.adadelta import (
    ScaleByAdadelta as ScaleByAdadelta,
    ScaleByAdaDeltaState as ScaleByAdaDeltaState,
    adadelta as adadelta,
    scale_by_adadelta as scale_by_adadelta,
)
from jopt.optimizers.adafactor import (
    FactoredState as FactoredState,
    ScaleByFactoredRms as ScaleByFactoredRms,
    adafactor as adafactor,
    scale_by_factored_rms as scale_by_factored_rms,
)
from jopt.optimizers.adagrad import (
    ScaleByRss as ScaleByRss,
    ScaleByRssState as ScaleByRssState,
    adagrad as adagrad,
    scale_by_rss as scale_by_rss,
)
from jopt.optimizers.adam import (
    ScaleByAdam as ScaleByAdam,
    ScaleByAdamState as ScaleByAdamState,
    adam as adam,
    adamw as adamw,
    nadam as nadam,
    nadamw as nadamw,
    scale_by_adam as scale_by_adam,
)
from jopt.optimizers.adamax import (
    ScaleByAdamax as ScaleByAdamax,
    adamax as adamax,
    adamaxw as adamaxw,
    scale_by_adamax as scale_by_adamax,
)
from jopt.optimizers.adan import (
    ScaleByAdan as ScaleByAdan,
    ScaleByAdanState as ScaleByAdanState,
    adan as adan,
    scale_by_adan as scale_by_adan,
)
from jopt.optimizers.ademamix import (
    ScaleByAdemamix as ScaleByAdemamix,
    ScaleByAdemamixState as ScaleByAdemamixState,
    ademamix as ademamix,
    scale_by_ademamix as scale_by_ademamix,
)
from jopt.optimizers.adopt import (
    ScaleByAdopt as ScaleByAdopt,
    adopt as adopt,
    scale_by_adopt as scale_by_adopt,
)
from jopt.optimizers.amsgrad import (
    ScaleByAmsgrad as ScaleByAmsgrad,
    ScaleByAmsgradState as ScaleByAmsgradState,
    amsgrad as amsgrad,
    scale_by_amsgrad as scale_by_amsgrad,
)
from jopt.optimizers.cocob import (
    COCOBState as COCOBState,
    ScaleByCocob as ScaleByCocob,
    cocob as cocob,
    scale_by_cocob as scale_by_cocob,
)
from jopt.optimizers.dadapt import (
    DAdaptAdamW as DAdaptAdamW,
    DAdaptAdamWState as DAdaptAdamWState,
    dadapt_adamw as dadapt_adamw,
)
from jopt.optimizers.dog import (
    DoGState as DoGState,
    ScaleByDistanceOverGradients as ScaleByDistanceOverGradients,
    ScaleByDistanceOverGradientsState as ScaleByDistanceOverGradientsState,
    ScaleByDog as ScaleByDog,
    dog as dog,
    scale_by_distance_over_gradients as scale_by_distance_over_gradients,
    scale_by_dog as scale_by_dog,
)
from jopt.optimizers.dowg import (
    DoWGState as DoWGState,
    ScaleByDowg as ScaleByDowg,
    dowg as dowg,
    scale_by_dowg as scale_by_dowg,
)
from jopt.optimizers.fromage import StepAndShrink as StepAndShrink, fromage as fromage
from jopt.optimizers.kron import (
    ScaleByKron as ScaleByKron,
    ScaleByKronState as ScaleByKronState,
    kron as kron,
    scale_by_kron as scale_by_kron,
)
from jopt.optimizers.lamb import lamb as lamb
from jopt.optimizers.lars import lars as lars
from jopt.optimizers.lion import (
    ScaleByLion as ScaleByLion,
    ScaleByLionState as ScaleByLionState,
    lion as lion,
    scale_by_lion as scale_by_lion,
)
from jopt.optimizers.madgrad import (
    MadgradState as MadgradState,
    ScaleByMadgrad as ScaleByMadgrad,
    madgrad as madgrad,
    scale_by_madgrad as scale_by_madgrad,
)
from jopt.optimizers.mars import (
    ScaleByMars as ScaleByMars,
    ScaleByMarsState as ScaleByMarsState,
    mars as mars,
    scale_by_mars as scale_by_mars,
)
from jopt.optimizers.momo import (
    Momo as Momo,
    MomoAdam as MomoAdam,
    MomoAdamState as MomoAdamState,
    MomoState as MomoState,
    momo as momo,
    momo_adam as momo_adam,
)
from jopt.optimizers.muon import (
    MuonState as MuonState,
    ScaleByMuon as ScaleByMuon,
    muon as muon,
    scale_by_muon as scale_by_muon,
)
from jopt.optimizers.noisy_sgd import noisy_sgd as noisy_sgd
from jopt.optimizers.normuon import (
    NormalizeNeurons as NormalizeNeurons,
    NormalizeNeuronsState as NormalizeNeuronsState,
    normalize_neurons as normalize_neurons,
    normuon as normuon,
)
from jopt.optimizers.novograd import (
    ScaleByNovograd as ScaleByNovograd,
    ScaleByNovogradState as ScaleByNovogradState,
    novograd as novograd,
    scale_by_novograd as scale_by_novograd,
)
from jopt.optimizers.optimistic import (
    ScaleByOptimisticGradient as ScaleByOptimisticGradient,
    ScaleByOptimisticGradientState as ScaleByOptimisticGradientState,
    optimistic_adam as optimistic_adam,
    optimistic_adam_v2 as optimistic_adam_v2,
    optimistic_gradient_descent as optimistic_gradient_descent,
    scale_by_optimistic_gradient as scale_by_optimistic_gradient,
)
from jopt.optimizers.polyak import (
    ScaleByPolyak as ScaleByPolyak,
    polyak_sgd as polyak_sgd,
    scale_by_polyak as scale_by_polyak,
)
from jopt.optimizers.prodigy import (
    Prodigy as Prodigy,
    ProdigyState as ProdigyState,
    prodigy as prodigy,
)
from jopt.optimizers.radam import (
    ScaleByRadam as ScaleByRadam,
    radam as radam,
    scale_by_radam as scale_by_radam,
)
from jopt.optimizers.rmsprop import (
    ScaleByRms as ScaleByRms,
    ScaleByRmsState as ScaleByRmsState,
    ScaleByRmsWithCountState as ScaleByRmsWithCountState,
    ScaleByRStdDevState as ScaleByRStdDevState,
    ScaleByRStdDevWithCountState as ScaleByRStdDevWithCountState,
    ScaleByStddev as ScaleByStddev,
    rmsprop as rmsprop,
    scale_by_rms as scale_by_rms,
    scale_by_stddev as scale_by_stddev,
)
from jopt.optimizers.rprop import (
    ScaleByRprop as ScaleByRprop,
    ScaleByRpropState as ScaleByRpropState,
    rprop as rprop,
    scale_by_rprop as scale_by_rprop,
)
from jopt.optimizers.schedule_free import (
    schedule_free_adamw as schedule_free_adamw,
    schedule_free_sgd as schedule_free_sgd,
)
from jopt.optimizers.sgd import sgd as sgd
from jopt.optimizers.shampoo import (
    ScaleByShampoo as ScaleByShampoo,
    ScaleByShampooState as ScaleByShampooState,
    scale_by_shampoo as scale_by_shampoo,
    shampoo as shampoo,
)
from jopt.optimizers.sign import (
    ScaleBySign as ScaleBySign,
    scale_by_sign as scale_by_sign,
    sign_sgd as sign_sgd,
    signum as signum,
)
from jopt.optimizers.simplified_ademamix import (
    ScaleBySimplifiedAdemamix as ScaleBySimplifiedAdemamix,
    ScaleBySimplifiedAdEMAMixState as ScaleBySimplifiedAdEMAMixState,
    scale_by_simplified_ademamix as scale_by_simplified_ademamix,
    simplified_ademamix as simplified_ademamix,
)
from jopt.optimizers.sm3 import (
    ScaleBySm3 as ScaleBySm3,
    ScaleBySM3State as ScaleBySM3State,
    scale_by_sm3 as scale_by_sm3,
    sm3 as sm3,
)
from jopt.optimizers.soap import (
    ScaleBySoap as ScaleBySoap,
    ScaleBySoapState as ScaleBySoapState,
    scale_by_soap as scale_by_soap,
    soap as soap,
)
from jopt.optimizers.stable_adamw import (
    ScaleByStableAdamw as ScaleByStableAdamw,
    scale_by_stable_adamw as scale_by_stable_adamw,
    stable_adamw as stable_adamw,
)
from jopt.optimizers.yogi import (
    ScaleByYogi as ScaleByYogi,
    scale_by_yogi as scale_by_yogi,
    yogi as yogi,
)
