"""Training one model: its state and its step."""

from jopt.training._forms import form_of as form_of, pure_loss as pure_loss
from jopt.training._step import (
    Metrics as Metrics,
    TrainState as TrainState,
    descend as descend,
    train_step as train_step,
)
