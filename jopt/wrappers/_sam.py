"""SAM, sharpness-aware minimization, and the normalization of its ascent."""

from typing import Annotated, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core import (
    EmptyState,
    GradientTransformation,
    Kind,
    PyTree,
    Transformation,
    apply_updates,
    as_transformation,
    common_groups,
    copied,
    field,
    global_norm,
    is_count,
    map_leaves,
    needed,
    pytree,
    quotient,
    static,
    wide,
)


@pytree
class Normalize(GradientTransformation):
    """Divide all updates together by their norm.

        u = g / |g|,  |g| = root of the sum of all squares

    The norm is summed in at least float32. If it is 0 the updates stay 0 (optax's
    become NaN).
    """

    shapeless = True

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        norm = global_norm(updates)
        return map_leaves(lambda g: quotient(g, norm), updates), state


NormalizeState = EmptyState


class SAMState(NamedTuple):
    """The states of both optimizers, and the parameters where the ascent started."""

    steps_since_sync: jax.Array  # int32[], ascents since the last descent
    opt_state: PyTree  # of the optimizer of the descent
    adv_state: PyTree  # of the optimizer of the ascent
    cache: PyTree | None  # like params; None in opaque mode


_Period: TypeAlias = Annotated[
    int, Kind("an integer, at least 1", is_count, ValueError)
]


@pytree
class Sam(GradientTransformation):
    """Descend with the gradient at the end of an ascent, towards flat minima.

        q_0 = p,  q_i = q_{i-1} - adv_optimizer(gradient at q_{i-1})
        p <- p + optimizer(gradient at q_{n-1}),  n = sync_period

        ascent = jopt.chain(jopt.normalize(), jopt.sgd(0.05))
        tx = jopt.sam(jopt.sgd(0.1), ascent)

    In transparent mode each call of `update` makes one step: n - 1 ascents, then the
    descent from where they began. Between descents the params are points of the ascent;
    one descent takes n calls. The state holds a copy of the parameters.

    In opaque mode each call makes all n steps, and computes the other gradients itself:

        updates, state = tx.update(grads, state, params, grad_fn=grad_fn)

    grad_fn(params, i) is the gradient for the i-th ascent, i = 0 to n - 2. It is called
    while tracing, so jit the step around it. This mode is needed if a call has other
    effects, such as on the statistics of batch normalization.

    Other extra arguments go to both optimizers; inside optax's combinators all of them
    need `jopt.to_optax(tx)`. `update` needs `params`, and in opaque mode `grad_fn`.
    Unlike in optax, a sync_period of 1 in transparent mode is the optimizer itself, and
    a step that is not taken cannot make another NaN.

    Args:
      optimizer: transformation of jopt or optax for the descent.
      adv_optimizer: transformation for the ascent. Give one that descends: its updates
        are negated. In the example above its learning rate is the radius rho of the
        paper, in units of params.
      sync_period: steps from one descent to the next, static, at least 1; 2 is the
        paper's.
      reset_state: whether the state of adv_optimizer is initialized after each descent.
        Otherwise it is kept from ascent to ascent.
      opaque_mode: whether a call makes all n steps.
      batch_axis_name: in opaque mode, the mapped axis over which the gradients of
        `grad_fn` are averaged.

    Raises:
      ValueError: if `update` is given no `params`, or in opaque mode no `grad_fn`.

    Foret et al. 2020, https://arxiv.org/abs/2010.01412, Algorithm 1.
    """

    optimizer: Transformation = field(converter=as_transformation)
    adv_optimizer: Transformation = field(converter=as_transformation)
    sync_period: _Period = static(default=2)
    reset_state: bool = static(default=True)
    opaque_mode: bool = static(default=False)
    batch_axis_name: str | None = static(default=None)

    def groups(self, params):
        if self.opaque_mode:  # grad_fn takes the user's tree
            return super().groups(params)
        parts = (self.optimizer, self.adv_optimizer)
        return common_groups(params, *(tx.groups(params) for tx in parts))

    def init(self, params):
        return SAMState(
            steps_since_sync=jnp.zeros((), jnp.int32),
            opt_state=self.optimizer.init(params),
            adv_state=self.adv_optimizer.init(params),
            cache=None if self.opaque_mode else copied(params),
        )

    def update(self, updates, state, params=None, *, grad_fn=None, **extra):
        params = needed(params, self, "the parameters, from which the ascent starts")
        if not self.opaque_mode:
            return self._one(updates, state, params, extra)
        purpose = "the gradient as a function"
        grad_fn = needed(grad_fn, self, purpose, extra="grad_fn=grad_fn")
        return self._all(updates, state, params, grad_fn, extra)

    def eval_params(self, state, params):
        """Return the start of the ascent while the params are on the ascent."""
        if not self.opaque_mode:
            down = state.steps_since_sync == 0
            params = map_leaves(
                lambda p, start: jnp.where(down, p, start), params, state.cache
            )
        return self.optimizer.eval_params(state.opt_state, params)

    def parts(self, state):
        return {
            "optimizer": (self.optimizer, state.opt_state),
            "adv_optimizer": (self.adv_optimizer, state.adv_state),
        }

    def _one(self, updates, state, params, extra):
        first = state.steps_since_sync == 0
        last = state.steps_since_sync == self.sync_period - 1

        def where(condition: jax.Array, yes: PyTree, no: PyTree) -> PyTree:
            return jax.tree.map(lambda y, n: jnp.where(condition, y, n), yes, no)

        grads = jax.tree.map(wide, updates)
        start = where(first, copied(params), state.cache)
        up, adv_state = self.adv_optimizer.update(
            grads, state.adv_state, params, **extra
        )
        down, opt_state = self.optimizer.update(grads, state.opt_state, start, **extra)

        def rule(g, up, down, start, p):
            return jnp.where(last, (start - p) + down, -up)

        kept = self.adv_optimizer.init(params) if self.reset_state else state.adv_state
        return map_leaves(rule, updates, up, down, start, params), SAMState(
            steps_since_sync=jnp.where(last, 0, state.steps_since_sync + 1),
            opt_state=where(last, opt_state, state.opt_state),
            adv_state=where(last, kept, adv_state),
            cache=start,
        )

    def _all(self, updates, state, params, grad_fn, extra):
        grads, adv_state, here = jax.tree.map(wide, updates), state.adv_state, params
        for i in range(self.sync_period - 1):
            up, adv_state = self.adv_optimizer.update(grads, adv_state, here, **extra)
            here = apply_updates(here, jax.tree.map(jnp.negative, up))
            grads = jax.tree.map(wide, grad_fn(here, i))
            if self.batch_axis_name is not None:
                grads = jax.lax.pmean(grads, self.batch_axis_name)
        down, opt_state = self.optimizer.update(grads, state.opt_state, params, **extra)
        if self.reset_state:
            adv_state = self.adv_optimizer.init(params)
        updates = map_leaves(lambda g, d: d, updates, down)
        return updates, state._replace(opt_state=opt_state, adv_state=adv_state)


normalize = Normalize
sam = Sam
