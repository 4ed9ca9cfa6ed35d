"""Where jopt meets its neighbours: a file each."""

from typing import TYPE_CHECKING, Any

from jopt.core import late
from jopt.interop._lbfgs import (
    lbfgs,
    scale_by_backtracking_linesearch,
    scale_by_lbfgs,
    scale_by_zoom_linesearch,
)
from jopt.interop._lift import Lifted, lift, to_optax
from jopt.interop._lifted import (
    acprop,
    differentially_private_aggregate,
    dpsgd,
    galore,
    hutchinson_estimator_diag_hessian,
    scale_by_acprop,
    scale_by_galore,
    sophia,
    split_real_and_imaginary,
)
from jopt.interop._optax import (
    CONTRIB as CONTRIB,
    NAMES as NAMES,
    from_optax as from_optax,
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
    """Import what knows sweeps when it is first used: `import jopt` loads none."""
    from jopt.interop._tensorboard import write_tensorboard

    return write_tensorboard


__getattr__, __dir__ = late(__name__, ("write_tensorboard",), _find)
