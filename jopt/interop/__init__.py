"""Other libraries that jopt works with, one a file."""

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
    from jopt.interop._tensorboard import write_tensorboard as write_tensorboard

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


def _find(name: str) -> Any:
    """Import `write_tensorboard` at its first use: `import jopt` loads no sweeps."""
    from jopt.interop._tensorboard import write_tensorboard

    return write_tensorboard


__getattr__, __dir__ = late(__name__, ("write_tensorboard",), _find)
