"""MoMo and MoMo-Adam: step sizes from the loss and a lower bound of it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    as_schedule,
    bias,
    check,
    field,
    full_like,
    global_norm,
    increment,
    inner_product,
    map_leaves,
    mix,
    needed,
    needed_loss,
    pytree,
    root,
    static,
    stored,
    value_at,
    wide,
)

_PARAMS = "the parameters, at which the loss is modelled"
_TINY = 2.0**-52  # a squared norm below which there is no direction, as in optax


class MomoState(NamedTuple):
    """Running means that make up the model of the loss."""

    exp_avg: PyTree  # like params, of the gradients
    barf: jax.Array  # float32[] at least, of the loss
    gamma: jax.Array  # float32[] at least, of <gradient, params>
    lb: jax.Array  # float32[] at least, lower bound of the loss
    count: jax.Array  # int32[], updates made


class MomoAdamState(NamedTuple):
    """Running means that make up the model of the loss, and Adam's scale."""

    exp_avg: PyTree  # like params, of the gradients
    exp_avg_sq: PyTree  # like params, real, of their squares
    barf: jax.Array  # float32[] at least, of the loss
    gamma: jax.Array  # float32[] at least, of <gradient, params>
    lb: jax.Array  # float32[] at least, lower bound of the loss
    count: jax.Array  # int32[], updates made


@pytree
class Momo(GradientTransformation):
    """Descend along the mean gradient until a model of the loss meets its lower bound.

        m, f, c <- running means of g, of the loss, of <g, p>  (the first of all: as is)
        h = (1 + a wd) (f - lower_bound - c) + <m, p>,  a = learning_rate(t)
        u = -min(a, max(h, 0) / |m|^2) m - a wd / (1 + a wd) p

        updates, state = tx.update(grads, state, params, value=loss)

    The updates are whole steps, with their sign: no learning rate may follow. Without a
    gradient (|m|^2 at most 2^-52) no step is made. Norms are over all leaves.

    `update` needs `params` and the loss as `value`. optax's combinators drop `value`:
    inside them, write `jopt.to_optax(tx)`.

    Args:
      learning_rate: greatest step, at least 0; take it large; a number or a schedule.
      beta: share of the means that a step keeps, in [0, 1).
      lower_bound: lower bound of the loss, in its units; 0 for most losses.
      weight_decay: wd, at least 0.
      adapt_lower_bound: whether to estimate a greater bound from the losses seen, for
        where lower_bound is far below what can be reached.
      proximal: whether to divide the step along m by 1 + a wd as well, as the paper and
        its authors' package do, and optax does not. Without it the model overshoots its
        bound.

    Raises:
      ValueError: `update` is called without `params` or `value`.

    Schaipp et al. 2023, https://arxiv.org/abs/2305.07583, Algorithm 1.
    """

    learning_rate: ScalarOrSchedule = field(converter=as_schedule, default=1.0)
    beta: Number = 0.9
    lower_bound: Number = 0.0
    weight_decay: Number = 0.0
    adapt_lower_bound: bool = static(default=False)
    proximal: bool = static(default=False, kw_only=True)

    shapeless = True

    def __post_init__(self):
        check(self, "learning_rate", least=0)
        check(self, "beta", least=0, below=1)
        check(self, "weight_decay", least=0)

    def init(self, params):
        size = global_norm(params)
        return MomoState(
            exp_avg=full_like(params),
            barf=jnp.zeros_like(size),
            gamma=jnp.zeros_like(size),
            lb=jnp.array(self.lower_bound, size.dtype),
            count=jnp.zeros((), jnp.int32),
        )

    def update(self, updates, state, params=None, *, value=None, **extra):
        params = needed(params, self, _PARAMS)
        loss = needed_loss(value, self, "the loss")
        decay = jnp.where(state.count == 0, 0, self.beta)
        f, c = _model(state, decay, loss, updates, params)

        mean = map_leaves(lambda m, g: mix(m, g, decay), state.exp_avg, updates)
        along, square = inner_product(mean, params), inner_product(mean, mean)
        step, bound = _step_size(self, state, f, c, along, square, jnp.ones_like(f))
        updates = map_leaves(_step(self, state, step), updates, mean, params)
        return updates, MomoState(mean, f, c, bound, increment(state.count))


@pytree
class MomoAdam(GradientTransformation):
    """Step as Adam does, as far as a model of the loss stays above its lower bound.

        m, v, f, c <- running means of g, |g|^2, the loss, <g, p>
        d = m / (sqrt(v / (1 - b2^t)) + eps)        w = 1 - b1^t
        h = (1 + a wd) (f - w lower_bound - c) + <m, p>,  a = learning_rate(t)
        u = -min(a / w, max(h, 0) / <m, d>) d - a wd / (1 + a wd) p

        updates, state = tx.update(grads, state, params, value=loss)

    `Momo` says what `update` needs.

    Args:
      learning_rate: greatest step, at least 0; take it large; a number or a schedule.
      b1: share of m, f and c that a step keeps, in [0, 1).
      b2: share of v that a step keeps, in [0, 1).
      eps: added outside the root, at least 0, in units of the gradients.
      lower_bound, weight_decay, adapt_lower_bound, proximal: see `Momo`.

    Raises:
      ValueError: `update` is called without `params` or `value`.

    Schaipp et al. 2023, https://arxiv.org/abs/2305.07583, Algorithm 2.
    """

    learning_rate: ScalarOrSchedule = field(converter=as_schedule, default=1e-2)
    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    lower_bound: Number = 0.0
    weight_decay: Number = 0.0
    adapt_lower_bound: bool = static(default=False)
    proximal: bool = static(default=False, kw_only=True)

    shapeless = True

    def __post_init__(self):
        check(self, "learning_rate", least=0)
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", "weight_decay", least=0)

    def init(self, params):
        size = global_norm(params)
        return MomoAdamState(
            exp_avg=full_like(params),
            exp_avg_sq=full_like(params, real=True),
            barf=jnp.zeros_like(size),
            gamma=jnp.zeros_like(size),
            lb=jnp.array(self.lower_bound, size.dtype),
            count=jnp.zeros((), jnp.int32),
        )

    def update(self, updates, state, params=None, *, value=None, **extra):
        params = needed(params, self, _PARAMS)
        loss = needed_loss(value, self, "the loss")
        count = increment(state.count)
        weight, weight2 = bias(self.b1, count), bias(self.b2, count)
        f, c = _model(state, self.b1, loss, updates, params)

        def rule(g, m, v):
            m, v = mix(m, g, self.b1), mix(v, abs_sq(g), self.b2)
            return m / (root(v / weight2) + self.eps), m, v

        grads = jax.tree.map(wide, updates)
        direction, mean, squares = map_leaves(
            rule, grads, state.exp_avg, state.exp_avg_sq
        )
        along, square = inner_product(mean, params), inner_product(mean, direction)
        step, bound = _step_size(self, state, f, c, along, square, weight)
        updates = map_leaves(_step(self, state, step), updates, direction, params)
        return updates, MomoAdamState(mean, squares, f, c, bound, count)


def _model(
    state: MomoState | MomoAdamState,
    decay: Number,
    loss: jax.Array,
    grads: PyTree,
    params: PyTree,
) -> tuple[jax.Array, jax.Array]:
    """Return the running means of the loss and of <gradient, params>."""
    old = state.barf, state.gamma
    loss = jnp.asarray(loss, state.barf.dtype)
    along = inner_product(grads, params)
    return stored((mix(old[0], loss, decay), mix(old[1], along, decay)), old)


def _step_size(
    self: Momo | MomoAdam,
    state: MomoState | MomoAdamState,
    f: jax.Array,
    c: jax.Array,
    along: jax.Array,
    square: jax.Array,
    weight: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the step size, at most the learning rate, and the next lower bound.

    The step is the one with which the model of the loss meets the bound.

    Args:
      self: the transformation.
      state: its state before this update.
      f: running mean of the loss.
      c: running mean of <gradient, params>.
      along: <m, params>.
      square: squared norm of the direction.
      weight: sum of the weights in the running means.
    """
    rate = value_at(self.learning_rate, state.count)
    decay = 1 + rate * self.weight_decay
    bound = state.lb if self.adapt_lower_bound else self.lower_bound
    if self.adapt_lower_bound:
        height = decay * (f - c) + along
        lowered = jnp.maximum(height / (2 * weight * decay), self.lower_bound)
        bound = jnp.where(height < decay * weight * bound, lowered, bound)
    height = jnp.maximum(decay * (f - weight * bound - c) + along, 0)
    flat = square <= _TINY
    meets = jnp.where(flat, 0, height / jnp.where(flat, 1, square))
    step = jnp.minimum(rate / weight, meets)
    if self.adapt_lower_bound:
        reached = (f + along - c - step * square / 2) / weight
        bound = jnp.maximum(reached, self.lower_bound)
    return step, jnp.asarray(bound, state.lb.dtype)


def _step(
    self: Momo | MomoAdam, state: MomoState | MomoAdamState, size: jax.Array
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Return the update rule of one leaf, of its gradient, direction and params."""
    decay = value_at(self.learning_rate, state.count) * self.weight_decay
    size = size / (1 + decay) if self.proximal else size
    return lambda g, d, p: -decay / (1 + decay) * p - size * d


momo = Momo
momo_adam = MomoAdam
