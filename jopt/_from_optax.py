"""What jopt takes over from optax as it is: losses, projections, numerics, names.

They are optax's own objects, loaded when first asked for, so that a program that says
`import jopt` in place of `import optax` finds them.
"""

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
_STATES = (  # of what jopt lifts
    "DifferentiallyPrivateAggregateState",
    "GaLoreDimensionNumbers",
    "GaLoreState",
    "HutchinsonState",
    "ScaleByBacktrackingLinesearchState",
    "ScaleByLBFGSState",
    "ScaleByZoomLinesearchState",
    "SophiaState",
    "SplitRealAndImaginaryState",
    "ZoomLinesearchInfo",
)
_MODULES = (
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
NAMES = frozenset((*_LOSSES, *_NUMERICS, *_TYPES, *_STATES, *_MODULES))


def from_optax(name: str) -> Any:
    """Return optax's own object of that name, or raise an AttributeError."""
    if name not in NAMES:
        raise AttributeError(f"module 'jopt' has no attribute {name!r}")
    import importlib

    rooms = [importlib.import_module(room) for room in _ROOMS]
    for room in rooms:
        if name in vars(room):
            return getattr(room, name)
    return importlib.import_module(f"optax.{name}")
