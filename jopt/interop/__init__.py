"""Other libraries that jopt works with, one a file."""

import importlib
from typing import TYPE_CHECKING, Any

from jopt.core import late
from jopt.interop._optax import (
    CONTRIB_NAMES as CONTRIB_NAMES,
    OPTAX_NAMES as OPTAX_NAMES,
    Lifted,
    acprop,
    differentially_private_aggregate,
    dpsgd,
    find_in_optax as find_in_optax,
    galore,
    hutchinson_estimator_diag_hessian,
    lbfgs,
    lift,
    scale_by_acprop,
    scale_by_backtracking_linesearch,
    scale_by_galore,
    scale_by_lbfgs,
    scale_by_zoom_linesearch,
    sophia,
    split_real_and_imaginary,
    to_optax,
)

if TYPE_CHECKING:
    from jopt.interop._mlflow import MlflowRuns as MlflowRuns
    from jopt.interop._optuna import OptunaTrials as OptunaTrials
    from jopt.interop._tensorboard import write_tensorboard as write_tensorboard
    from jopt.interop._tracker import Tracker as Tracker
    from jopt.interop._wandb import WandbRuns as WandbRuns

__all__ = [
    "Lifted",
    "acprop",
    "differentially_private_aggregate",
    "dpsgd",
    "galore",
    "hutchinson_estimator_diag_hessian",
    "lbfgs",
    "lift",
    "scale_by_acprop",
    "scale_by_backtracking_linesearch",
    "scale_by_galore",
    "scale_by_lbfgs",
    "scale_by_zoom_linesearch",
    "sophia",
    "split_real_and_imaginary",
    "to_optax",
]


# Files by names that are imported at their first use: `import jopt` loads no sweeps.
_LATE = {
    "MlflowRuns": "_mlflow",
    "OptunaTrials": "_optuna",
    "Tracker": "_tracker",
    "WandbRuns": "_wandb",
    "write_tensorboard": "_tensorboard",
}


def _find(name: str) -> Any:
    return getattr(importlib.import_module(f"jopt.interop.{_LATE[name]}"), name)


__getattr__, __dir__ = late(__name__, tuple(_LATE), _find)
