"""Training one model: its state, its step, its precision."""

from jopt.training._forms import form_of as form_of, pure_loss as pure_loss
from jopt.training._state import TrainState as TrainState
from jopt.training._step import (
    Metrics as Metrics,
    descend as descend,
    train_step as train_step,
    train_steps as train_steps,
)
from jopt.training.loss_scale import LossScale as LossScale
from jopt.training.memory import Memory as Memory, memory as memory
from jopt.training.precision import Precision as Precision
from jopt.training.sharding import state_sharding as state_sharding
