"""Triangular and diagonal factors along the axes of an array, fitted to whiten it."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jopt.core import (
    Number,
    abs_sq,
    gram,
    multiply_along,
    solve_upper_transposed,
    unfold,
)

Saving = Literal["one_diag", "smart_one_diag", "all_diag"]
Factors = Sequence[jax.Array]  # one for each axis: [d, d] upper triangular, or [d]


def _longest(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(np.argsort(shape)[-1:].tolist())


def _only_longest(shape: tuple[int, ...]) -> tuple[int, ...]:
    return _longest(shape) if shape.count(max(shape)) == 1 < len(shape) else ()


SAVINGS: dict[Saving | None, Callable[[tuple[int, ...]], Iterable[int]]] = {
    None: lambda shape: (),
    "one_diag": _longest,
    "smart_one_diag": _only_longest,
    "all_diag": lambda shape: range(len(shape)),
}
"""The axes that have diagonal factors, by `memory_save_mode`."""


def as_square(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of the matrix closest to square that `shape` reshapes to.

    The matrix is the first axis by the others, or the others by the last axis,
    whichever has the shorter longest side.
    """
    tall = math.prod(shape[:-1]), shape[-1]
    flat = shape[0], math.prod(shape[1:])
    return min(tall, flat, key=max)


def multiplied(x: jax.Array, factors: Factors, *, turned: bool = False) -> jax.Array:
    """Multiply `x` along each axis by its factor, or by its transpose if `turned`."""
    for axis, factor in enumerate(factors):
        if factor.ndim == 2:
            x = multiply_along(x, factor, axis, turned=turned)
        else:
            x = x * _spread(factor, x.ndim, axis)
    return x


def fitted(
    factors: Factors, seen: jax.Array, probe: jax.Array, rate: Number
) -> tuple[jax.Array, ...]:
    """Take one step towards factors that give `seen` the moments of white noise.

    Args:
      factors: one for each axis.
      seen: array to whiten.
      probe: Gaussian noise of variance 1, like `seen`.
      rate: step size relative to the norm of the slope, in (0, 1).

    Returns:
      The new factors, like `factors`.
    """
    white = multiplied(seen, factors)
    inverse = _divided(probe, factors)
    moved = []
    for axis, factor in enumerate(factors):
        if factor.ndim == 2:
            ours, theirs = gram(white, axis), gram(inverse, axis)
            slope = jnp.triu(ours - theirs) / norm_bound(ours + theirs)
            moved.append(factor - rate * (slope @ factor))
        else:
            ours, theirs = _diagonal(white, axis), _diagonal(inverse, axis)
            slope = (ours - theirs) / jnp.max(ours + theirs)
            moved.append(factor - rate * slope * factor)
    return tuple(moved)


def balanced(factors: Factors) -> tuple[jax.Array, ...]:
    """Give all factors the same greatest coordinate, without changing their product."""
    greatest = jnp.stack([jnp.max(jnp.abs(factor)) for factor in factors])
    ratios = jnp.exp(jnp.mean(jnp.log(greatest))) / greatest
    return tuple(r * factor for r, factor in zip(ratios, factors, strict=True))


def norm_bound(matrix: jax.Array) -> jax.Array:
    """Return a lower bound of the spectral norm of a symmetric matrix that is not zero.

    The bound is two steps of power iteration from the longest column. It is rarely less
    than two thirds of the norm.
    """
    size = jnp.max(jnp.abs(matrix))
    matrix = matrix / size
    longest = jnp.argmax(jnp.sum(jnp.square(matrix), axis=0))
    vector = matrix @ lax.dynamic_index_in_dim(matrix, longest, 1, keepdims=False)
    return size * jnp.linalg.norm(matrix @ vector) / jnp.linalg.norm(vector)


def _divided(x: jax.Array, factors: Factors) -> jax.Array:
    """Multiply `x` along each axis by the inverse of its factor's transpose."""
    for axis, factor in enumerate(factors):
        if factor.ndim == 2:
            rows = unfold(x, axis)
            rows = solve_upper_transposed(factor, rows)
            moved = (x.shape[axis], *x.shape[:axis], *x.shape[axis + 1 :])
            x = jnp.moveaxis(rows.reshape(moved), 0, axis)
        else:
            x = x / _spread(factor, x.ndim, axis)
    return x


def _diagonal(x: jax.Array, axis: int) -> jax.Array:
    """Return the sum of the squares of `x` over all axes but one."""
    others = tuple(i for i in range(x.ndim) if i != axis)
    return jnp.sum(abs_sq(x), axis=others)


def _spread(diagonal: jax.Array, ndim: int, axis: int) -> jax.Array:
    """Return the diagonal with axes of length 1, to multiply an array along `axis`."""
    return jnp.expand_dims(diagonal, tuple(i for i in range(ndim) if i != axis))
