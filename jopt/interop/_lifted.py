"""Transformations of optax's own, lifted: their numbers are leaves.

Second-order and privacy methods. What each computes, and what
its arguments mean, is said in optax's documentation of the same name. optax is imported
when one of them is first called.
"""

from jopt.core import (
    Chain,
    Count,
    DType,
    Key,
    Number,
    ScalarOrSchedule,
    Transformation,
    chain,
    checked,
)
from jopt.interop._lift import Lifted
from jopt.interop._lifted_arguments import Dimensions, Mask, from_optax
from jopt.transforms import identity, scale_by_learning_rate, trace


@checked
def hutchinson_estimator_diag_hessian(random_seed: Key | None = None) -> Lifted:
    """Return an estimate of the Hessian's diagonal: optax's own, lifted.

    random_seed: a key; by default that of seed 0. `update` needs `params`, and the loss
    of params alone as `obj_fn`.
    """
    return from_optax("hutchinson_estimator_diag_hessian", locals())


@checked
def sophia(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.965,
    b2: Number = 0.99,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    weight_decay_mask: Mask = None,
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

    hessian_diagonal_fn: a transformation whose updates are the Hessian's diagonal; by
    default `hutchinson_estimator_diag_hessian`, which needs the loss of params alone as
    `obj_fn`. Jit the step that calls `update`, see `lbfgs`.
    """
    given = dict(locals())
    if hessian_diagonal_fn is None:
        hutchinson = hutchinson_estimator_diag_hessian()
        given = given | {"hessian_diagonal_fn": hutchinson}
    return from_optax("sophia", given)


@checked
def scale_by_galore(
    rank: Count = 128,
    update_proj_gap: Count = 200,
    scale: Number = 1.0,
    base_optimizer: Transformation | None = None,
    weight_dimension_numbers: Dimensions = None,
) -> Lifted:
    """Transform the gradients in subspaces of low rank: optax's own, lifted.

    base_optimizer: a transformation that needs no params; by default `scale_by_adam`.
    Real leaves only, and no None among them.
    """
    return from_optax("scale_by_galore", locals())


@checked
def galore(
    learning_rate: ScalarOrSchedule,
    rank: Count = 128,
    update_proj_gap: Count = 200,
    scale: Number = 1.0,
    base_optimizer: Transformation | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask = None,
    weight_dimension_numbers: Dimensions = None,
) -> Lifted:
    """Descend in subspaces of low rank, by GaLore: optax's own, lifted.

    base_optimizer: see `scale_by_galore`.
    """
    return from_optax("galore", locals())


@checked
def scale_by_acprop(
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-16,
    eps_root: Number = 1e-16,
) -> Lifted:
    """Divide by the deviation of the step before, as ACProp: optax's own, lifted."""
    return from_optax("scale_by_acprop", locals())


@checked
def acprop(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-16,
    eps_root: Number = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask = None,
) -> Lifted:
    """Descend by ACProp: optax's own, lifted."""
    return from_optax("acprop", locals())


@checked
def differentially_private_aggregate(
    l2_norm_clip: Number,
    noise_multiplier: Number,
    key: Key | None = None,
    *,
    seed: int | None = None,
) -> Lifted:
    """Clip the gradient of each example, add noise, average: optax's own, lifted.

    The updates have an axis more than the params, the first, of the examples. key: for
    the noise, an integer or a key; seed: the same, by its older name.

    Raises a ValueError without a key (optax takes that of seed 0), or with both.
    """
    if (key is None) == (seed is None):
        raise ValueError(
            "differentially_private_aggregate: key must be given, and seed not with "
            f"it, got key={key!r} and seed={seed!r}."
        )
    numbers = {"l2_norm_clip": l2_norm_clip, "noise_multiplier": noise_multiplier}
    given = numbers | {"key": seed if key is None else key}
    fixed = ("key",) if isinstance(given["key"], int) else ()
    return from_optax("differentially_private_aggregate", given, *fixed)


@checked
def dpsgd(
    learning_rate: ScalarOrSchedule,
    l2_norm_clip: Number,
    noise_multiplier: Number,
    seed: int,
    momentum: Number | None = None,
    nesterov: bool = False,
) -> Chain:
    """SGD on what `differentially_private_aggregate` makes of the examples' gradients.

    The updates have an axis more than the params, the first, of the examples; what
    comes back has not. Unlike optax's own of that name it warns of nothing.
    """
    return chain(
        differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed),
        identity() if momentum is None else trace(momentum, nesterov),
        scale_by_learning_rate(learning_rate),
    )


@checked
def split_real_and_imaginary(inner: Transformation) -> Lifted:
    """Give `inner` each complex leaf as a pair of real ones: optax's own, lifted.

    inner: jopt's transformation or optax's; it gets no extra arguments.
    """
    return from_optax("split_real_and_imaginary", locals())
