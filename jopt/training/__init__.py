"""Training of one model: its state, its step, its precision."""

from jopt.training._devices import state_sharding
from jopt.training._early_stopping import EarlyStopping
from jopt.training._fit import Fit, fit
from jopt.training._forms import (
    Form as Form,
    LossFn as LossFn,
    Nnx as Nnx,
    Pair as Pair,
    form_of as form_of,
    pure_loss as pure_loss,
)
from jopt.training._frozen import joined as joined
from jopt.training._gradients import Weight as Weight, is_random as is_random
from jopt.training._loss_scale import LossScale
from jopt.training._memory import (
    Memory,
    aligned as aligned,
    memory,
    short_bytes as short_bytes,
)
from jopt.training._precision import Precision
from jopt.training._roles import Role, roles, shapes_of as shapes_of
from jopt.training._scaling import (
    ScaledOptimizer as ScaledOptimizer,
    Scaling,
    ScalingRule as ScalingRule,
    scaling,
)
from jopt.training._state import TrainState, state_of as state_of
from jopt.training._step import PureStep as PureStep, train_step, train_steps
from jopt.training._update import Metrics, in_a_loop as in_a_loop

__all__ = [
    "EarlyStopping",
    "Fit",
    "LossScale",
    "Memory",
    "Metrics",
    "Precision",
    "Role",
    "Scaling",
    "TrainState",
    "fit",
    "memory",
    "roles",
    "scaling",
    "state_sharding",
    "train_step",
    "train_steps",
]
