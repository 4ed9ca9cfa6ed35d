"""optax: its factories with numbers as leaves, its named tuple, and its names.

Three parts:

1. `lift` makes the numbers of any factory of optax leaves, and `to_optax` returns a
   transformation of jopt as optax's own named tuple.
2. The names that jopt takes over from optax as they are: losses, numerics, types,
   modules. A program that says `import jopt` in place of `import optax` finds them.
3. The transformations that jopt has by `lift` under optax's own names: line searches,
   second-order and privacy methods. optax documents each under the same name.

optax is imported when it is first used: `import jopt` loads jax and nothing heavier.
"""

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import jax
import numpy as np

from jopt.core import (
    Chain,
    Count,
    DType,
    Factory,
    FactorySettings,
    GradientTransformation,
    Key,
    Kind,
    Number,
    PyTree,
    ScalarOrSchedule,
    Transformation,
    as_number,
    chain,
    checked,
    factory_arguments,
    factory_names,
    factory_signature,
    field,
    init_foreign,
    is_transformation,
    pytree,
    shown,
    static,
    update_foreign,
)
from jopt.transforms import identity, scale_by_learning_rate, trace


def _as_numbers(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: as_number(value) for name, value in given.items()}


@pytree
class Lifted(GradientTransformation):
    """A transformation that a factory of optax rebuilds inside each update.

    Each update calls `factory(**numbers, **settings)`, with traced numbers. The state
    is optax's own, of params in at least float32. Make it by `lift`.

    Args:
      factory: a function that returns a transformation of optax's kind.
      numbers: its numbers, schedules and inner transformations, by name.
      settings: its other arguments.
    """

    factory: Callable[..., Any] = static()
    # Numbers, schedules and inner transformations.
    numbers: dict[str, Any] = field(converter=_as_numbers)
    settings: FactorySettings = static()

    def frozen(self, params):
        # Unknown: optax does not say which leaves it never updates.
        return [False] * len(jax.tree.leaves(params))

    def init(self, params):
        return init_foreign(self._build(), params)

    def update(self, updates, state, params=None, **extra):
        return update_foreign(self._build(), updates, state, params, extra)

    def _build(self) -> Any:
        numbers = {
            name: to_optax(value) if _is_inner(value) else value
            for name, value in self.numbers.items()
        }
        built = self.factory(**numbers, **self.settings)
        if not is_transformation(built):
            raise TypeError(
                "lift: factory must return a gradient transformation (an object with "
                f"init and update), got {shown(built)} from {shown(self.factory)}."
            )
        return built


@checked
def lift(factory: Factory, static: str | Iterable[str] = ()) -> Callable[..., Any]:
    """Return optax's `factory` with its numbers as leaves.

        tx = jopt.lift(optax.adan)(learning_rate=1e-3)

    The result of the returned factory can be swept, differentiated, compared, pickled
    and stepped with new numbers without a recompile, like jopt's own transformations.
    `factory` is called inside each compiled update.

    Floats, arrays, and jopt's schedules and transformations become leaves, the defaults
    of `factory` included. Integers do unless the factory's default or annotation is an
    integer: those are static (a rank, a number of steps), as are bools, strings, dtypes
    and functions.

    Args:
      factory: a function of a module that returns optax's `(init, update)`.
      static: names of numbers that stay constants, for a factory that branches on them
        in Python (as `optax.scale_by_sm3` does on `b2`).

    Returns:
      A factory with the signature of `factory`. Calling it raises a TypeError if the
      arguments do not fit `factory`.

    Raises:
      TypeError: if `factory` is not a function whose arguments can be read.
      ValueError: if `factory` has no argument of a name in `static`.
    """
    signature = factory_signature("lift", factory)
    fixed = factory_names("lift", "static", static, factory)

    @functools.wraps(factory)
    def lifted(*args: Any, **kwargs: Any) -> Lifted:
        numbers, settings = factory_arguments(factory, signature, args, kwargs, fixed)
        inner = {k: v for k, v in settings.items() if _is_inner(v)}
        rest = FactorySettings((k, v) for k, v in settings.items() if k not in inner)
        return Lifted(factory, numbers | inner, rest)

    return lifted


def _is_inner(value: Any) -> bool:
    return isinstance(value, GradientTransformation)


@checked
def to_optax(tx: GradientTransformation) -> Any:
    """Return `tx` as optax's own named tuple, `GradientTransformationExtraArgs`.

        optax.chain(optax.clip(1.0), jopt.to_optax(tx))

    optax takes jopt's objects as they are. Its combinators (`chain`, `partition`,
    `masked`, `MultiSteps` ...) pass extra arguments (`value=`) only to instances of
    this class, and drop them for all others.

    Args:
      tx: a transformation of jopt's.
    """
    import optax

    return optax.GradientTransformationExtraArgs(tx.init, tx.update)


# Names that jopt takes over: the objects are optax's own.

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
_STATES = (  # of the lifted transformations below
    "ScaleByBacktrackingLinesearchState",
    "ScaleByLBFGSState",
    "ScaleByZoomLinesearchState",
    "ZoomLinesearchInfo",
)
CONTRIB_NAMES = (
    "DifferentiallyPrivateAggregateState",
    "GaLoreDimensionNumbers",
    "GaLoreState",
    "HutchinsonState",
    "SophiaState",
    "SplitRealAndImaginaryState",
)
MODULES = (  # jopt has a module of each name, which imports all of optax's
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
OPTAX_NAMES = frozenset(
    (*_LOSSES, *_NUMERICS, *_TYPES, *_STATES, *CONTRIB_NAMES, *MODULES)
)


def find_in_optax(name: str) -> Any:
    """Return optax's object of that name, or jopt's module that re-exports optax's."""
    if name in MODULES:
        return importlib.import_module(f"jopt.{name}")
    return getattr(_module_of(name), name)


def _module_of(name: str) -> Any:
    """Import the module of optax that has the name."""
    rooms = map(importlib.import_module, ("optax.contrib", "optax.schedules", "optax"))
    return next(room for room in rooms if hasattr(room, name))


# Transformations of optax, lifted. Each signature is written out, because `checked`
# checks the arguments by its annotations.


def _is_mask(given: Any) -> bool:
    leaves = jax.tree.leaves(given)
    bools = bool(leaves) and all(isinstance(x, (bool, np.bool_)) for x in leaves)
    return given is None or callable(given) or bools


def _is_dimension_tree(given: Any) -> bool:
    tree = not jax.tree_util.all_leaves([given]) and bool(jax.tree.leaves(given))
    return given is None or callable(given) or tree


def _is_line_search(given: Any) -> bool:
    known = given is None or (isinstance(given, str) and given == "zoom")
    return known or is_transformation(given)


_Mask: TypeAlias = Annotated[
    PyTree | Callable[[PyTree], PyTree] | None,
    Kind("a tree of bools, a function that makes one or None", _is_mask),
]
_Dimensions: TypeAlias = Annotated[
    Any,
    Kind("a tree of GaLoreDimensionNumbers, a function or None", _is_dimension_tree),
]
_LineSearch: TypeAlias = Annotated[
    Any, Kind('"zoom", None or a transformation', _is_line_search, ValueError)
]


def _lifted(
    name: str, arguments: Mapping[str, Any], static: Iterable[str] = ()
) -> Lifted:
    """Call optax's factory of that name, lifted."""
    return lift(getattr(_module_of(name), name), static)(**arguments)


@checked
def scale_by_backtracking_linesearch(
    max_backtracking_steps: Count,
    slope_rtol: Number = 1e-4,
    decrease_factor: Number = 0.8,
    increase_factor: Number = 1.5,
    max_learning_rate: Number = 1.0,
    atol: Number = 0.0,
    rtol: Number = 0.0,
    store_grad: bool = False,
    verbose: bool = False,
) -> Lifted:
    """Scale the updates by a step size that backtracking finds: optax's own, lifted.

    `update` needs `params`, `value`, `grad` and `value_fn`, see `lbfgs`.
    """
    return _lifted(
        "scale_by_backtracking_linesearch", locals(), ("max_backtracking_steps",)
    )


@checked
def scale_by_zoom_linesearch(
    max_linesearch_steps: Count,
    max_learning_rate: Number | None = None,
    tol: Number = 0.0,
    increase_factor: Number = 2.0,
    slope_rtol: Number = 1e-4,
    curv_rtol: Number = 0.9,
    approx_dec_rtol: Number | None = 1e-6,
    stepsize_precision: Number = 1e-5,
    initial_guess_strategy: Literal["keep", "one"] = "keep",
    verbose: bool = False,
) -> Lifted:
    """Scale the updates by a step size that a zoom finds: optax's own, lifted.

    `update` needs `params`, `value`, `grad` and `value_fn`, see `lbfgs`.
    """
    return _lifted("scale_by_zoom_linesearch", locals(), ("max_linesearch_steps",))


@checked
def scale_by_lbfgs(memory_size: Count = 10, scale_init_precond: bool = True) -> Lifted:
    """Multiply by a limited-memory inverse Hessian: optax's own, lifted.

    It has no leaves. `update` needs `params`.
    """
    return _lifted("scale_by_lbfgs", locals())


@checked
def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: Count = 10,
    scale_init_precond: bool = True,
    linesearch: _LineSearch = "zoom",
) -> Lifted:
    """Descend by L-BFGS with a line search: optax's own, lifted.

        tx = jopt.lbfgs()
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(
            grad, state, params, value=value, grad=grad, value_fn=loss
        )

    It is for full batches. A function cannot be an argument of a compiled call, so an
    eager `update` with `value_fn` runs operation by operation: jit the step that calls
    it.

    Args:
      learning_rate: a number, a schedule or None, as in optax.
      memory_size: past steps that the inverse Hessian is made of, at least 1.
      scale_init_precond: as in optax.
      linesearch: a transformation, jopt's or optax's; None for no line search; or
        "zoom" for optax's default,
        `scale_by_zoom_linesearch(20, initial_guess_strategy="one")`.

    Raises:
      ValueError: if `linesearch` is none of these.
    """
    arguments = dict(locals())
    if linesearch == "zoom":
        zoom = scale_by_zoom_linesearch(20, initial_guess_strategy="one")
        arguments["linesearch"] = zoom
    return _lifted("lbfgs", arguments)


@checked
def hutchinson_estimator_diag_hessian(random_seed: Key | None = None) -> Lifted:
    """Replace the updates by the Hessian's estimated diagonal: optax's own, lifted.

    `update` needs `params`, and the loss as a function of the params alone as `obj_fn`.

    Args:
      random_seed: a key; by default the key of seed 0.
    """
    return _lifted("hutchinson_estimator_diag_hessian", locals())


@checked
def sophia(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.965,
    b2: Number = 0.99,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    weight_decay_mask: _Mask = None,
    gamma: Number = 0.01,
    clip_threshold: Number | None = 1.0,
    update_interval: Count = 10,
    hessian_diagonal_fn: Transformation | None = None,
    mu_dtype: DType = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
) -> Lifted:
    """Descend by Sophia: optax's own, lifted.

        updates, state = tx.update(grads, state, params, obj_fn=loss)

    Jit the step that calls `update`, see `lbfgs`. The arguments are optax's, except
    `hessian_diagonal_fn`.

    Args:
      hessian_diagonal_fn: a transformation whose updates are the Hessian's diagonal; by
        default `hutchinson_estimator_diag_hessian`, which needs the loss as a function
        of the params alone as `obj_fn`.
    """
    arguments = dict(locals())
    if hessian_diagonal_fn is None:
        arguments["hessian_diagonal_fn"] = hutchinson_estimator_diag_hessian()
    return _lifted("sophia", arguments)


@checked
def scale_by_galore(
    rank: Count = 128,
    update_proj_gap: Count = 200,
    scale: Number = 1.0,
    base_optimizer: Transformation | None = None,
    weight_dimension_numbers: _Dimensions = None,
) -> Lifted:
    """Transform the gradients in subspaces of low rank: optax's own, lifted.

    It takes real leaves only, and no None among them.

    Args:
      base_optimizer: a transformation that needs no params; by default `scale_by_adam`.
    """
    return _lifted("scale_by_galore", locals())


@checked
def galore(
    learning_rate: ScalarOrSchedule,
    rank: Count = 128,
    update_proj_gap: Count = 200,
    scale: Number = 1.0,
    base_optimizer: Transformation | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: _Mask = None,
    weight_dimension_numbers: _Dimensions = None,
) -> Lifted:
    """Descend in subspaces of low rank, by GaLore: optax's own, lifted.

    Args:
      base_optimizer: see `scale_by_galore`.
    """
    return _lifted("galore", locals())


@checked
def scale_by_acprop(
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-16,
    eps_root: Number = 1e-16,
) -> Lifted:
    """Divide by the previous step's deviation, as ACProp: optax's own, lifted."""
    return _lifted("scale_by_acprop", locals())


@checked
def acprop(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-16,
    eps_root: Number = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: _Mask = None,
) -> Lifted:
    """Descend by ACProp: optax's own, lifted."""
    return _lifted("acprop", locals())


@checked
def differentially_private_aggregate(
    l2_norm_clip: Number,
    noise_multiplier: Number,
    key: Key | None = None,
    *,
    seed: int | None = None,
) -> Lifted:
    """Clip the gradient of each example, add noise, average: optax's own, lifted.

    The updates have one axis more than the params: the examples, first.

    Args:
      l2_norm_clip: the largest norm of one example's gradient.
      noise_multiplier: the noise's standard deviation, in units of `l2_norm_clip`.
      key: an integer or a key, for the noise.
      seed: `key` by its older name.

    Raises:
      ValueError: if both or neither of `key` and `seed` are given. (optax takes the key
        of seed 0 if neither is.)
    """
    if (key is None) == (seed is None):
        raise ValueError(
            "differentially_private_aggregate: key must be given, and seed not with "
            f"it, got key={key!r} and seed={seed!r}."
        )
    key = seed if key is None else key
    return _lifted(
        "differentially_private_aggregate",
        {
            "l2_norm_clip": l2_norm_clip,
            "noise_multiplier": noise_multiplier,
            "key": key,
        },
        ("key",) if isinstance(key, int) else (),
    )


@checked
def dpsgd(
    learning_rate: ScalarOrSchedule,
    l2_norm_clip: Number,
    noise_multiplier: Number,
    seed: int,
    momentum: Number | None = None,
    nesterov: bool = False,
) -> Chain:
    """Descend by SGD on private gradients, of `differentially_private_aggregate`.

    The updates that it takes have one axis more than the params: the examples, first.
    Those that it returns have the shapes of the params. optax's `dpsgd` warns when it
    is called; this one does not.

    Args:
      learning_rate: a number or a schedule.
      l2_norm_clip: see `differentially_private_aggregate`.
      noise_multiplier: see `differentially_private_aggregate`.
      seed: seed of the noise.
      momentum: the decay of the momentum; None for no momentum.
      nesterov: whether the momentum is Nesterov's.
    """
    return chain(
        differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed),
        identity() if momentum is None else trace(momentum, nesterov),
        scale_by_learning_rate(learning_rate),
    )


@checked
def split_real_and_imaginary(inner: Transformation) -> Lifted:
    """Give `inner` each complex leaf as a pair of real ones: optax's own, lifted.

    Args:
      inner: a transformation of jopt's or optax's. It gets no extra arguments.
    """
    return _lifted("split_real_and_imaginary", locals())
