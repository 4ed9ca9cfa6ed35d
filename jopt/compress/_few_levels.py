"""Projections to few levels of each weight: `Quantize`, `Ternary`, `Sign`."""

from typing import Literal

import jax
import jax.numpy as jnp

from jopt.compress._projections import Projection
from jopt.compress._quantization import others
from jopt.core import (
    Number,
    PyTree,
    ScalarOrSchedule,
    argument_error,
    as_schedule,
    by_path,
    check,
    field,
    path_text,
    pytree,
    quotient,
    static,
    value_at,
    wide,
)


@pytree
class Quantize(Projection):
    """Round weights to integers of `bits` bits, times a scale.

        q = clip(round(w / scale), lowest, highest)        w <- scale q

        "symmetric": highest = -lowest = 2^(bits - 1) - 1, scale = max|w| / highest
        "full": one level more, lowest = -2^(bits - 1), scale = max|w| / (highest + 1/2)

    0 stays 0.

    Args:
      bits: from 2 to 16; a number or a schedule. None leaves the weights as they are.
      axis: each slice along this axis has its own scale, static; -1 is an output of
        Flax's kernels. None is one scale for each leaf.
      levels: "symmetric" or "full", static.
      begin: first update that quantizes, at least 0. In a run of n updates n - 1 is
        quantization after training.

    Jacob et al. 2017, https://arxiv.org/abs/1712.05877.
    """

    bits: ScalarOrSchedule | None = field(converter=as_schedule)
    axis: int | None = static(default=-1)
    levels: Literal["symmetric", "full"] = static(default="symmetric")
    begin: Number = 0.0

    def __post_init__(self):
        hint = "For full precision give None."
        check(self, "bits", least=2, most=16, hint=hint)
        check(self, "begin", least=0)

    def check_leaves(self, weights):
        _check_axis(self, weights)

    def __call__(self, weights, count):
        if self.bits is None:
            return weights
        # A power is rounded: it may be off in its last digit.
        half = jnp.round(jnp.exp2(value_at(self.bits, count) - 1))
        full = self.levels == "full"
        begun = wide(count) >= self.begin

        def leaf(w: jax.Array) -> jax.Array:
            over = others(w, self.axis)
            top = jnp.max(jnp.abs(w), axis=over, keepdims=True, initial=0)
            # XLA multiplies by the reciprocal of a scalar, which rounds differently.
            steps = jnp.where(top > 0, half - (0.5 if full else 1), 1)
            scale = top / steps
            codes = jnp.clip(
                jnp.round(quotient(w, scale)), -half if full else 1 - half, half - 1
            )
            return jnp.where(begun, codes * scale, w)

        return jax.tree.map(leaf, weights)


@pytree
class Ternary(Projection):
    """Keep the sign of large weights, and set small ones to 0.

        w <- a sign(w) where |w| > threshold mean|w|, else 0

    a is the mean of |w| over the large weights.

    Args:
      threshold: in units of the mean of |w|, at least 0.
      axis: each slice along this axis has its own a, static; None is one for each leaf.

    Li et al. 2016, https://arxiv.org/abs/1605.04711.
    """

    threshold: Number = 0.7
    axis: int | None = static(default=None)

    def __post_init__(self):
        check(self, "threshold", least=0)

    def check_leaves(self, weights):
        _check_axis(self, weights)

    def __call__(self, weights, count):
        def leaf(w: jax.Array) -> jax.Array:
            size = jnp.abs(w)
            large = size > self.threshold * _mean(size, jnp.ones_like(w), self.axis)
            mean = _mean(size, large.astype(w.dtype), self.axis)
            return jnp.where(large, jnp.sign(w) * mean, 0)

        return jax.tree.map(leaf, weights)


@pytree
class Sign(Projection):
    """Keep the sign of each weight: one bit.

        w <- mean|w| sign(w), where the sign of 0 is 1

    Args:
      axis: each slice along this axis has its own mean, static; None is one for each
        leaf.

    Rastegari et al. 2016, https://arxiv.org/abs/1603.05279, section 3.1.
    """

    axis: int | None = static(default=-1)

    def check_leaves(self, weights):
        _check_axis(self, weights)

    def __call__(self, weights, count):
        def leaf(w: jax.Array) -> jax.Array:
            mean = _mean(jnp.abs(w), jnp.ones_like(w), self.axis)
            return jnp.where(w < 0, -mean, mean)

        return jax.tree.map(leaf, weights)


def _check_axis(self: Quantize | Ternary | Sign, weights: PyTree) -> None:
    for path, leaf in by_path(weights).items():
        axes = len(leaf.shape)
        if self.axis is not None and axes and not -axes <= self.axis < axes:
            name = path_text(path)
            rule = f"an axis of {name} of shape {list(leaf.shape)}, or None"
            hint = "Leave the leaf out by where."
            title = type(self).__name__
            raise argument_error(title, "axis", self.axis, rule, ValueError, hint)


def _mean(x: jax.Array, members: jax.Array, axis: int | None) -> jax.Array:
    """Return the mean over the members of each slice, 0 where there are none."""
    over = others(x, axis)
    number = jnp.sum(members, axis=over, keepdims=True)
    return quotient(jnp.sum(x * members, axis=over, keepdims=True), number)
