"""L-BFGS and line searches: optax's own, lifted, so that their numbers are leaves.

What they compute, and what their arguments mean, is said in optax's documentation of
the same name. optax is imported when one of them is first called.
"""

from typing import Literal

from jopt.core import Count, Number, ScalarOrSchedule, checked
from jopt.interop._lift import Lifted
from jopt.interop._lifted_arguments import LineSearch, from_optax


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
    """Search the length of a step by backtracking: optax's own, lifted.

    `update` needs `params`, `value`, `grad` and `value_fn`, see `lbfgs`.
    """
    return from_optax(
        "scale_by_backtracking_linesearch", locals(), "max_backtracking_steps"
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
    """Search the length of a step by interpolation: optax's own, lifted.

    `update` needs `params`, `value`, `grad` and `value_fn`, see `lbfgs`.
    """
    return from_optax("scale_by_zoom_linesearch", locals(), "max_linesearch_steps")


@checked
def scale_by_lbfgs(memory_size: Count = 10, scale_init_precond: bool = True) -> Lifted:
    """Multiply by a limited-memory inverse Hessian: optax's own, lifted.

    It has no numbers. `update` needs `params`.
    """
    return from_optax("scale_by_lbfgs", locals())


@checked
def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: Count = 10,
    scale_init_precond: bool = True,
    linesearch: LineSearch = "zoom",
) -> Lifted:
    """Descend by L-BFGS with a line search: optax's own, lifted.

        tx = jopt.lbfgs()
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(
            grad, state, params, value=value, grad=grad, value_fn=loss
        )

    linesearch: "zoom" is `scale_by_zoom_linesearch(20, initial_guess_strategy="one")`,
    optax's default; None is none; or any other transformation, jopt's or optax's.

    Extra arguments that are functions cannot pass through `jit`: called eagerly such an
    `update` runs operation by operation. Jit the step that calls it. For full batches.
    """
    given = dict(locals())
    if linesearch == "zoom":
        zoom = scale_by_zoom_linesearch(20, initial_guess_strategy="one")
        given = given | {"linesearch": zoom}
    return from_optax("lbfgs", given)
