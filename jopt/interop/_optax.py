"""Names that jopt takes over from optax: losses, numerics, types, modules.

The objects are optax's own, loaded at the first access, so that a program that says
`import jopt` in place of `import optax` finds them and `import jopt` stays light.
"""

import importlib
from typing import Any

_LOSSES = (
    "convex_kl_divergence",
    "cosine_distance",
    "cosine_similarity",
    "ctc_loss",
    "ctc_loss_with_forward_probs",
    "generalized_kl_divergence",
    "hinge_loss",
    "huber_loss",
    "kl_divergence",
    "l2_loss",
    "log_cosh",
    "ntxent",
    "safe_softmax_cross_entropy",
    "sigmoid_focal_loss",
    "sigmoid_binary_cross_entropy",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "squared_error",
)
_NUMERICS = (
    "bias_correction",
    "init_empty_state",
    "matrix_inverse_pth_root",
    "microbatch",
    "multi_normal",
    "nnls",
    "power_iteration",
    "safe_increment",
    "safe_int32_increment",
    "safe_norm",
    "safe_root_mean_squares",
    "scale_gradient",
    "tree_map_params",
    "update_infinity_moment",
    "update_moment",
    "update_moment_per_elem_norm",
    "value_and_grad_from_state",
)
_TYPES = (
    "GradientTransformationExtraArgs",
    "MaskOrFn",
    "OptState",
    "StatefulSchedule",
    "Params",
    "TransformInitFn",
    "TransformUpdateExtraArgsFn",
    "TransformUpdateFn",
    "Updates",
    "with_extra_args_support",
)
_STATES = (  # of the transformations that jopt lifts
    "ScaleByBacktrackingLinesearchState",
    "ScaleByLBFGSState",
    "ScaleByZoomLinesearchState",
    "ZoomLinesearchInfo",
)
CONTRIB = (
    "DifferentiallyPrivateAggregateState",
    "GaLoreDimensionNumbers",
    "GaLoreState",
    "HutchinsonState",
    "SophiaState",
    "SplitRealAndImaginaryState",
)
MODULES = (
    "assignment",
    "experimental",
    "losses",
    "microbatching",
    "perturbations",
    "projections",
    "second_order",
    "tree",
    "tree_utils",
)
_ROOMS = ("optax.contrib", "optax.schedules", "optax")
NAMES = frozenset((*_LOSSES, *_NUMERICS, *_TYPES, *_STATES, *CONTRIB, *MODULES))


def from_optax(name: str) -> Any:
    """Return optax's object of that name, or jopt's module that re-exports optax's."""
    if name in MODULES:
        return importlib.import_module(f"jopt.{name}")
    rooms = [importlib.import_module(room) for room in _ROOMS]
    return next(getattr(room, name) for room in rooms if hasattr(room, name))
