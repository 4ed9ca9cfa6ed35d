"""Gradient accumulation: one step of the optimizer for several mini-steps."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core import (
    Arrays,
    DType,
    GradientTransformation,
    Number,
    PyTree,
    Transformation,
    abs_sq,
    all_finite,
    as_transformation,
    check,
    checked,
    field,
    full_like,
    increment,
    map_leaves,
    pytree,
    static,
    sum_leaves,
    wide,
)
from jopt.wrappers._step_counts import Period, as_period, period_at
from jopt.wrappers._user_functions import as_data, called, decision
from jopt.wrappers._vmapped_cond import when

ShouldSkipUpdateFunction: TypeAlias = Callable[
    [PyTree, jax.Array, PyTree | None], tuple[jax.Array, PyTree]
]


@checked
def skip_not_finite(
    updates: Arrays, gradient_step: jax.Array, params: PyTree | None
) -> tuple[jax.Array, PyTree]:
    """Skip a mini-step whose gradients hold a NaN or an infinity.

    Args:
      updates: gradients of the mini-step.
      gradient_step: int32[], steps of the optimizer.
      params: parameters, or None.

    Returns:
      A bool scalar, true to skip, and the content of `MultiStepsState.skip_state`:
      `should_skip`, the same scalar, and `num_not_finite`, the number of values that
      are not finite, int32[].
    """

    def counted(updates: PyTree) -> jax.Array:
        bad = [jnp.sum(~jnp.isfinite(x)) for x in jax.tree.leaves(updates)]
        return sum(bad, start=jnp.zeros((), int)).astype(jnp.int32)

    skip = ~all_finite(updates)
    none = lambda _: jnp.zeros((), jnp.int32)  # noqa: E731
    number = when(skip, counted, none, jax.lax.stop_gradient(updates))
    return skip, {"should_skip": skip, "num_not_finite": number}


@checked
def skip_large_updates(
    updates: Arrays,
    gradient_step: jax.Array,
    params: PyTree | None,
    max_squared_norm: Number,
) -> tuple[jax.Array, PyTree]:
    """Skip a mini-step whose gradients are too large, or hold a NaN or an infinity.

        accumulate(tx, 4, should_skip_update_fn=partial(
            skip_large_updates, max_squared_norm=100.0))

    Args:
      updates: gradients of the mini-step.
      gradient_step: int32[], steps of the optimizer.
      params: parameters, or None.
      max_squared_norm: bound of the squared norm, above 0, in units of the gradients
        squared. Given by `functools.partial` it is a leaf of the transformation and can
        be swept.

    Returns:
      A bool scalar, true to skip, and the content of `MultiStepsState.skip_state`:
      `should_skip`, the same scalar, and `norm_squared`, summed in at least float32.
    """
    squares = sum_leaves(abs_sq, updates)
    skip = ~(squares < max_squared_norm)
    return skip, {"should_skip": skip, "norm_squared": squares}


class MultiStepsState(NamedTuple):
    """The position in the window, its gradients, and the skipped mini-steps."""

    mini_step: jax.Array  # int32[], mini-steps of the window so far
    gradient_step: jax.Array  # int32[], steps of the optimizer
    inner_opt_state: PyTree  # of the inner transformation
    acc_grads: PyTree  # like params, zero at a window's start
    skip_state: PyTree  # of the last mini-step, by should_skip_update_fn
    skipped: jax.Array  # int32[], mini-steps skipped so far


@pytree
class MultiSteps(GradientTransformation):
    """Accumulate the gradients of several mini-steps, then step with their mean.

        a <- a + (g - a) / n,  n = mini-steps of this window, this one included
        u = 0, until n = every_k_schedule; then u = opt(a) and a <- 0

    A mini-step costs one addition, and one read of the gradients to find those that are
    not finite; the optimizer runs only when the window is full. Extra arguments of the
    mini-step that fills the window reach the optimizer. Under `vmap` the optimizer runs
    when the window of any trial is full, so trials in lockstep pay no more than one
    trial.

    optax's optimizer runs at every mini-step. Its default skips nothing, so that one
    NaN stays in the sum for ever. Its `gradient_transformation()` drops the extra
    arguments within a chain.

    Args:
      opt: the optimizer.
      every_k_schedule: length of a window, at least 1, in mini-steps. A Python integer
        is part of the program; an array or a float is data, rounded to an integer, and
        so is a schedule, which counts steps of the optimizer.
      use_grad_mean: whether the mean is used; False uses the sum, a <- a + g.
      should_skip_update_fn: function like `skip_not_finite` that decides which
        mini-steps are ignored, in the window and in its mean; None ignores none.
      accumulator_dtype: dtype of a; by default the params', but at least float32.

    Raises:
      ValueError: if `should_skip_update_fn` does not return a bool scalar.
    """

    opt: Transformation = field(converter=as_transformation)
    every_k_schedule: Period = field(converter=as_period)
    use_grad_mean: bool = static(default=True)
    should_skip_update_fn: ShouldSkipUpdateFunction | None = field(
        converter=as_data, default=skip_not_finite
    )
    accumulator_dtype: DType = static(default=None)

    def __post_init__(self):
        hint = "It is the number of mini-steps that make one step."
        check(self, "every_k_schedule", least=1, hint=hint)

    def groups(self, params):
        # The user's function must see the user's tree, not joined leaves.
        known = (None, skip_not_finite, skip_large_updates)
        rule = getattr(self.should_skip_update_fn, "func", self.should_skip_update_fn)
        return self.opt.groups(params) if rule in known else super().groups(params)

    def init(self, params):
        skip_state = jax.eval_shape(self._skips, params, jnp.int32(0), params)[1]
        return MultiStepsState(
            mini_step=jnp.zeros((), jnp.int32),
            gradient_step=jnp.zeros((), jnp.int32),
            inner_opt_state=self.opt.init(params),
            acc_grads=full_like(params, dtype=self.accumulator_dtype),
            skip_state=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), skip_state),
            skipped=jnp.zeros((), jnp.int32),
        )

    def update(self, updates, state, params=None, **extra):
        skip, skip_state = self._skips(updates, state.gradient_step, params)
        count = increment(state.mini_step)
        every = period_at(self.every_k_schedule, state.gradient_step)
        full = ~skip & (count >= every)

        def gather(a, g):
            return jnp.where(
                skip, a, a + ((g - a) / count if self.use_grad_mean else g)
            )

        def step(gathered, inner):
            return self.opt.update(gathered, inner, params, **extra)

        gathered = map_leaves(gather, state.acc_grads, updates)
        # The step overwrites the sum. Zeros made inside the branch would be an extra
        # array, as large as the params, at every mini-step.
        made, inner = when(
            full,
            step,
            lambda *held: held,
            jax.tree.map(wide, gathered),
            state.inner_opt_state,
        )
        updates, gathered = map_leaves(
            lambda g, a, u: (jnp.where(full, u, 0), jnp.where(full, 0, u)),
            updates,
            gathered,
            made,
        )
        mini_step = jnp.where(skip, state.mini_step, count)
        return updates, MultiStepsState(
            mini_step=jnp.where(full, 0, mini_step),
            gradient_step=_plus(state.gradient_step, full),
            inner_opt_state=inner,
            acc_grads=gathered,
            skip_state=skip_state,
            skipped=_plus(state.skipped, skip),
        )

    @checked
    def has_updated(self, state: MultiStepsState) -> jax.Array:
        """Return whether the last mini-step that was not skipped made a step.

        Args:
          state: state of this transformation.

        Returns:
          A bool scalar.
        """
        return (state.mini_step == 0) & (state.gradient_step > 0)

    def gradient_transformation(self) -> "MultiSteps":
        """Return this object: `MultiSteps` is a transformation itself."""
        return self

    @property
    def inner_opt(self) -> GradientTransformation:
        """The optimizer, under optax's other name."""
        return self.opt

    def parts(self, state):
        return {"opt": (self.opt, state.inner_opt_state)}

    def _skips(self, updates, gradient_step, params):
        if self.should_skip_update_fn is None:
            return jnp.array(False), ()
        rule = self.should_skip_update_fn
        skip, kept = called(rule, updates, gradient_step, params)
        return decision(skip, self, "should_skip_update_fn"), kept


@checked
def accumulate(
    tx: Transformation,
    every: Period,
    use_grad_mean: bool = True,
    should_skip_update_fn: ShouldSkipUpdateFunction | None = skip_not_finite,
    accumulator_dtype: DType = None,
) -> MultiSteps:
    """Make one step of `tx` with the mean gradient of several mini-steps.

        tx = jopt.accumulate(jopt.adamw(3e-4), every=8)

    Every call returns updates to apply: zeros, until the window is full. Mini-steps
    with a NaN or an infinity are skipped and counted.

    Args:
      tx: the optimizer: `opt` of `MultiSteps`.
      every: `every_k_schedule` of `MultiSteps`.
      use_grad_mean: as in `MultiSteps`.
      should_skip_update_fn: as in `MultiSteps`.
      accumulator_dtype: as in `MultiSteps`.

    Returns:
      A `MultiSteps`.
    """
    return MultiSteps(
        tx, every, use_grad_mean, should_skip_update_fn, accumulator_dtype
    )


def _plus(count: jax.Array, flag: jax.Array) -> jax.Array:
    """Return `count`, incremented where `flag` is true."""
    return jnp.where(flag, increment(count), count)
