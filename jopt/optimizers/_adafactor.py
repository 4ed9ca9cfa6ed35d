"""Adafactor."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    chain,
    check,
    checked,
    increment,
    map_leaves,
    mix,
    pytree,
    reduced_zeros,
    standard_promotion,
    static,
    wide_dtype,
)
from jopt.transforms import (
    add_decayed_weights,
    clip_by_block_rms,
    ema,
    scale,
    scale_by_learning_rate,
    scale_by_param_block_rms,
)


def _decay_rate_pow(step: jax.Array, exponent: Number) -> jax.Array:
    # Before step_offset, where the power is undefined, the means forget everything: 0.
    return 1 - jnp.maximum(step + 1, 1) ** -exponent


class FactoredState(NamedTuple):
    """Mean squares: of rows and columns where factored, else of coordinates.

    Arrays that a leaf does not use are a single zero.
    """

    count: jax.Array  # int32[], updates made
    v_row: PyTree  # like params without their longest axis, real
    v_col: PyTree  # like params without their second longest axis, real
    v: PyTree  # like params, real


@pytree
class ScaleByFactoredRms(GradientTransformation):
    """Divide by the root of the mean square, kept as its row and column means.

        r <- d r + (1 - d) mean of |g|^2 + epsilon over the longest axis
        c <- d c + (1 - d) mean of |g|^2 + epsilon over the second longest axis
        u = g / sqrt(r c / mean(r)),  mean over the second longest axis
        d = decay_rate_fn(t - step_offset, decay_rate),  t = updates made before

    and where a leaf is not factored

        v <- d v + (1 - d) (|g|^2 + epsilon)          u = g / sqrt(v)

    The means are at least float32, whatever the params are. Before step_offset, where
    optax's d is NaN, it is 0 here. `update` does not need `params`.

    Args:
      factored: whether to factor any leaf.
      decay_rate: exponent in the default d = 1 - (t - step_offset + 1)^-decay_rate,
        above 0. That d is 0 at the first step and tends to 1.
      step_offset: in steps. A fine-tuning that starts from a state with this count
        starts d over.
      min_dim_size_to_factor: integer, at least 1. Leaves whose two longest axes are at
        least this long are factored.
      epsilon: added to the squares, above 0, in units of the gradients squared.
      decay_rate_fn: function of two numbers that returns d. One that stays below 1, as
        in Zhai et al. 2021, https://arxiv.org/abs/2106.04560, keeps the means moving in
        long trainings.

    Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235, Algorithm 4, 5.
    """

    factored: bool = static(default=True)
    decay_rate: Number = 0.8
    step_offset: Number = 0.0
    min_dim_size_to_factor: int = static(default=128)
    epsilon: Number = 1e-30
    decay_rate_fn: Callable[[jax.Array, Number], Number] = static(
        default=_decay_rate_pow
    )

    def __post_init__(self):
        check(self, "decay_rate", above=0)
        check(self, "min_dim_size_to_factor", least=1)
        hint = "A coordinate without gradients would be 0/0."
        check(self, "epsilon", above=0, hint=hint)

    def init(self, params):
        def means(p: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            kind = jnp.finfo(wide_dtype(p)).dtype
            unused = jnp.zeros((1,), kind)
            if (axes := self._axes(jnp.shape(p))) is None:
                return unused, unused, reduced_zeros(p, (), kind)
            second, longest = axes
            row = reduced_zeros(p, (longest,), kind)
            return row, reduced_zeros(p, (second,), kind), unused

        leaves, structure = jax.tree.flatten(params)
        made = [means(p) for p in leaves]
        row, col, v = (structure.unflatten(m[k] for m in made) for k in range(3))
        return FactoredState(jnp.zeros((), jnp.int32), v_row=row, v_col=col, v=v)

    def update(self, updates, state, params=None, **extra):
        with standard_promotion():
            step = state.count - self.step_offset
            decay = jnp.asarray(self.decay_rate_fn(step, self.decay_rate))

        def rule(g, row, col, v):
            square = abs_sq(g) + self.epsilon
            axes = self._axes(g.shape)
            if axes is None:
                v = mix(v, square, decay)
                return g * _inverse_root(v), row, col, v
            short, long = axes
            row = mix(row, jnp.mean(square, long), decay)
            col = mix(col, jnp.mean(square, short), decay)
            rows, cols = jnp.expand_dims(row, long), jnp.expand_dims(col, short)
            # Divide by a constant first: the slope of a quotient by 1e-30 overflows.
            rows = rows / lax.stop_gradient(jnp.mean(rows, short, keepdims=True))
            ratio = rows / jnp.mean(rows, short, keepdims=True)
            return g * (_inverse_root(ratio) * _inverse_root(cols)), row, col, v

        means = (state.v_row, state.v_col, state.v)
        updates, row, col, v = map_leaves(rule, updates, *means)
        count = increment(state.count)
        return updates, FactoredState(count=count, v_row=row, v_col=col, v=v)

    def _axes(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Return the second longest and the longest axis if factored, else None."""
        if not self.factored or len(shape) < 2 or 0 in shape:
            return None
        *_, second, longest = sorted(range(len(shape)), key=lambda axis: shape[axis])
        if shape[second] < self.min_dim_size_to_factor:
            return None
        return second, longest


def _inverse_root(x: jax.Array) -> jax.Array:
    # Where x is only epsilon its slope, x^-1.5, overflows float32: take 0 there.
    tiny = x < 1e-24
    constant = jax.lax.stop_gradient(jax.lax.rsqrt(x))
    return jnp.where(tiny, constant, jax.lax.rsqrt(jnp.where(tiny, 1, x)))


scale_by_factored_rms = ScaleByFactoredRms


@checked
def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: Number = 0.8,
    decay_offset: Number = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: Number | None = 1.0,
    momentum: Number | None = None,
    dtype_momentum: Any = jnp.float32,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: Number = 1e-30,
    factored: bool = True,
    weight_decay_mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> Chain:
    """Descend by a factored Adam without momentum, at steps relative to the parameters.

        u of `ScaleByFactoredRms`
        u <- u min(1, clipping_threshold / rms(u))
        u <- learning_rate max(rms(p), 1e-3) u
        m <- momentum m + (1 - momentum) u,  u <- m
        p <- p - u - weight_decay_rate p

    PyTorch's Adafactor multiplies the weight decay by the learning rate, takes
    min(0.01, 1 / sqrt(t)) as the learning rate, factors matrices of any size, and
    always factors their last two axes.

    Args:
      learning_rate: at least 0; a number or a schedule. It is a fraction of the
        parameters' root mean square, 0.01 or so; without multiply_by_parameter_scale it
        is in units of params. None is 1.
      min_dim_size_to_factor: see `ScaleByFactoredRms`.
      decay_rate: see `ScaleByFactoredRms`.
      decay_offset: step_offset of `ScaleByFactoredRms`.
      multiply_by_parameter_scale: whether a step is relative to rms(p).
      clipping_threshold: limit of each leaf's root mean square, at least 0. None is no
        clipping.
      momentum: share of m that a step keeps, in [0, 1). None keeps no m, and no memory
        for it.
      dtype_momentum: dtype of m.
      weight_decay_rate: at least 0; a number or a schedule. The learning rate does not
        multiply it. None is no decay.
      eps: epsilon of `ScaleByFactoredRms`.
      factored: see `ScaleByFactoredRms`.
      weight_decay_mask: which parameters decay, see `add_decayed_weights`.

    Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235, Algorithm 4, 5.
    """
    parts: list[GradientTransformation] = [
        scale_by_factored_rms(
            factored, decay_rate, decay_offset, min_dim_size_to_factor, eps
        )
    ]
    if clipping_threshold is not None:
        parts.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        parts.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        parts.append(scale_by_param_block_rms())
    if momentum is not None:
        parts.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        parts.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    # The sign comes last, as in optax, so that means in both states have the same sign.
    return chain(*parts, scale(-1.0))
