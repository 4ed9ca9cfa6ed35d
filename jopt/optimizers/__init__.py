"""Optimizers: each file holds one algorithm, its transformation and its aliases."""

from jopt.optimizers._adabelief import (
    ScaleByBelief,
    ScaleByBeliefState,
    adabelief,
    scale_by_belief,
)
from jopt.optimizers._adadelta import (
    ScaleByAdadelta,
    ScaleByAdaDeltaState,
    adadelta,
    scale_by_adadelta,
)
from jopt.optimizers._adafactor import (
    FactoredState,
    ScaleByFactoredRms,
    adafactor,
    scale_by_factored_rms,
)
from jopt.optimizers._adagrad import ScaleByRss, ScaleByRssState, adagrad, scale_by_rss
from jopt.optimizers._adam import (
    ScaleByAdam,
    ScaleByAdamState,
    adam,
    adamw,
    nadam,
    nadamw,
    scale_by_adam,
)
from jopt.optimizers._adamax import ScaleByAdamax, adamax, adamaxw, scale_by_adamax
from jopt.optimizers._adan import ScaleByAdan, ScaleByAdanState, adan, scale_by_adan
from jopt.optimizers._ademamix import (
    ScaleByAdemamix,
    ScaleByAdemamixState,
    ademamix,
    scale_by_ademamix,
)
from jopt.optimizers._adopt import ScaleByAdopt, adopt, scale_by_adopt
from jopt.optimizers._amsgrad import (
    ScaleByAmsgrad,
    ScaleByAmsgradState,
    amsgrad,
    scale_by_amsgrad,
)
from jopt.optimizers._cocob import COCOBState, ScaleByCocob, cocob, scale_by_cocob
from jopt.optimizers._dadapt import DAdaptAdamW, DAdaptAdamWState, dadapt_adamw
from jopt.optimizers._dog import (
    DoGState,
    ScaleByDistanceOverGradients,
    ScaleByDistanceOverGradientsState,
    ScaleByDog,
    dog,
    scale_by_distance_over_gradients,
    scale_by_dog,
)
from jopt.optimizers._dowg import DoWGState, ScaleByDowg, dowg, scale_by_dowg
from jopt.optimizers._fromage import StepAndShrink, fromage
from jopt.optimizers._kron import ScaleByKron, ScaleByKronState, kron, scale_by_kron
from jopt.optimizers._lamb import lamb
from jopt.optimizers._lars import lars
from jopt.optimizers._lion import ScaleByLion, ScaleByLionState, lion, scale_by_lion
from jopt.optimizers._madgrad import (
    MadgradState,
    ScaleByMadgrad,
    madgrad,
    scale_by_madgrad,
)
from jopt.optimizers._mars import ScaleByMars, ScaleByMarsState, mars, scale_by_mars
from jopt.optimizers._momo import (
    Momo,
    MomoAdam,
    MomoAdamState,
    MomoState,
    momo,
    momo_adam,
)
from jopt.optimizers._muon import MuonState, ScaleByMuon, muon, scale_by_muon
from jopt.optimizers._noisy_sgd import noisy_sgd
from jopt.optimizers._normuon import (
    NormalizeNeurons,
    NormalizeNeuronsState,
    normalize_neurons,
    normuon,
)
from jopt.optimizers._novograd import (
    ScaleByNovograd,
    ScaleByNovogradState,
    novograd,
    scale_by_novograd,
)
from jopt.optimizers._optimistic import (
    ScaleByOptimisticGradient,
    ScaleByOptimisticGradientState,
    optimistic_adam,
    optimistic_adam_v2,
    optimistic_gradient_descent,
    scale_by_optimistic_gradient,
)
from jopt.optimizers._polyak import ScaleByPolyak, polyak_sgd, scale_by_polyak
from jopt.optimizers._prodigy import Prodigy, ProdigyState, prodigy
from jopt.optimizers._radam import ScaleByRadam, radam, scale_by_radam
from jopt.optimizers._rmsprop import (
    ScaleByRms,
    ScaleByRmsState,
    ScaleByRmsWithCountState,
    ScaleByRStdDevState,
    ScaleByRStdDevWithCountState,
    ScaleByStddev,
    rmsprop,
    scale_by_rms,
    scale_by_stddev,
)
from jopt.optimizers._rprop import (
    ScaleByRprop,
    ScaleByRpropState,
    rprop,
    scale_by_rprop,
)
from jopt.optimizers._schedule_free import schedule_free_adamw, schedule_free_sgd
from jopt.optimizers._sgd import sgd
from jopt.optimizers._shampoo import (
    ScaleByShampoo,
    ScaleByShampooState,
    scale_by_shampoo,
    shampoo,
)
from jopt.optimizers._sign import ScaleBySign, scale_by_sign, sign_sgd, signum
from jopt.optimizers._simplified_ademamix import (
    ScaleBySimplifiedAdemamix,
    ScaleBySimplifiedAdEMAMixState,
    scale_by_simplified_ademamix,
    simplified_ademamix,
)
from jopt.optimizers._sm3 import ScaleBySm3, ScaleBySM3State, scale_by_sm3, sm3
from jopt.optimizers._soap import ScaleBySoap, ScaleBySoapState, scale_by_soap, soap
from jopt.optimizers._stable_adamw import (
    ScaleByStableAdamw,
    scale_by_stable_adamw,
    stable_adamw,
)
from jopt.optimizers._yogi import ScaleByYogi, scale_by_yogi, yogi

__all__ = [
    "COCOBState",
    "DAdaptAdamW",
    "DAdaptAdamWState",
    "DoGState",
    "DoWGState",
    "FactoredState",
    "MadgradState",
    "Momo",
    "MomoAdam",
    "MomoAdamState",
    "MomoState",
    "MuonState",
    "NormalizeNeurons",
    "NormalizeNeuronsState",
    "Prodigy",
    "ProdigyState",
    "ScaleByAdaDeltaState",
    "ScaleByAdadelta",
    "ScaleByAdam",
    "ScaleByAdamState",
    "ScaleByAdamax",
    "ScaleByAdan",
    "ScaleByAdanState",
    "ScaleByAdemamix",
    "ScaleByAdemamixState",
    "ScaleByAdopt",
    "ScaleByAmsgrad",
    "ScaleByAmsgradState",
    "ScaleByBelief",
    "ScaleByBeliefState",
    "ScaleByCocob",
    "ScaleByDistanceOverGradients",
    "ScaleByDistanceOverGradientsState",
    "ScaleByDog",
    "ScaleByDowg",
    "ScaleByFactoredRms",
    "ScaleByKron",
    "ScaleByKronState",
    "ScaleByLion",
    "ScaleByLionState",
    "ScaleByMadgrad",
    "ScaleByMars",
    "ScaleByMarsState",
    "ScaleByMuon",
    "ScaleByNovograd",
    "ScaleByNovogradState",
    "ScaleByOptimisticGradient",
    "ScaleByOptimisticGradientState",
    "ScaleByPolyak",
    "ScaleByRStdDevState",
    "ScaleByRStdDevWithCountState",
    "ScaleByRadam",
    "ScaleByRms",
    "ScaleByRmsState",
    "ScaleByRmsWithCountState",
    "ScaleByRprop",
    "ScaleByRpropState",
    "ScaleByRss",
    "ScaleByRssState",
    "ScaleBySM3State",
    "ScaleByShampoo",
    "ScaleByShampooState",
    "ScaleBySign",
    "ScaleBySimplifiedAdEMAMixState",
    "ScaleBySimplifiedAdemamix",
    "ScaleBySm3",
    "ScaleBySoap",
    "ScaleBySoapState",
    "ScaleByStableAdamw",
    "ScaleByStddev",
    "ScaleByYogi",
    "StepAndShrink",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "adan",
    "ademamix",
    "adopt",
    "amsgrad",
    "cocob",
    "dadapt_adamw",
    "dog",
    "dowg",
    "fromage",
    "kron",
    "lamb",
    "lars",
    "lion",
    "madgrad",
    "mars",
    "momo",
    "momo_adam",
    "muon",
    "nadam",
    "nadamw",
    "noisy_sgd",
    "normalize_neurons",
    "normuon",
    "novograd",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "polyak_sgd",
    "prodigy",
    "radam",
    "rmsprop",
    "rprop",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_adan",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_amsgrad",
    "scale_by_belief",
    "scale_by_cocob",
    "scale_by_distance_over_gradients",
    "scale_by_dog",
    "scale_by_dowg",
    "scale_by_factored_rms",
    "scale_by_kron",
    "scale_by_lion",
    "scale_by_madgrad",
    "scale_by_mars",
    "scale_by_muon",
    "scale_by_novograd",
    "scale_by_optimistic_gradient",
    "scale_by_polyak",
    "scale_by_radam",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_rss",
    "scale_by_shampoo",
    "scale_by_sign",
    "scale_by_simplified_ademamix",
    "scale_by_sm3",
    "scale_by_soap",
    "scale_by_stable_adamw",
    "scale_by_stddev",
    "scale_by_yogi",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "sgd",
    "shampoo",
    "sign_sgd",
    "signum",
    "simplified_ademamix",
    "sm3",
    "soap",
    "stable_adamw",
    "yogi",
]
