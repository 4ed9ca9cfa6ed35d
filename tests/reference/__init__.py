"""optax's names once more, in NumPy and float64, each algorithm as its paper has it.

A transformation here is a function of a whole run: trees of gradients and of params,
with the step as axis 0, to the updates and the states of every step. A schedule is a
function of the step. Numbers are those that float32 holds: jopt is given them as data.
"""

from reference.adagrad import adagrad as adagrad, scale_by_rss as scale_by_rss
from reference.adam import (
    adam as adam,
    adamw as adamw,
    nadam as nadam,
    nadamw as nadamw,
    scale_by_adam as scale_by_adam,
)
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
from reference.lion import lion as lion, scale_by_lion as scale_by_lion
from reference.momentum import ema as ema, sgd as sgd, trace as trace
from reference.rmsprop import (
    rmsprop as rmsprop,
    scale_by_rms as scale_by_rms,
    scale_by_stddev as scale_by_stddev,
)
from reference.run import chain as chain, named_chain as named_chain
from reference.schedules import (
    constant_schedule as constant_schedule,
    cosine_decay_schedule as cosine_decay_schedule,
    exponential_decay as exponential_decay,
    join_schedules as join_schedules,
    linear_schedule as linear_schedule,
    piecewise_constant_schedule as piecewise_constant_schedule,
    polynomial_schedule as polynomial_schedule,
    warmup_cosine_decay_schedule as warmup_cosine_decay_schedule,
)
