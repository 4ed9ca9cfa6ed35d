"""Newton-Schulz iteration on a stack of matrices, and its coefficients."""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from jopt.core import (
    DType,
    Number,
    PyTree,
    abs_sq,
    argument_error,
    as_number,
    error_about,
    root,
    wide_dtype,
)

Preconditioning: TypeAlias = Literal["frobenius", "spectral", "aol", "schatten"]
Row: TypeAlias = tuple[Number, Number, Number]
Dot: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]

QUINTIC = (3.4445, -4.7750, 2.0315)
TUNED5 = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
_OPTIMAL = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)
# The rows but the last are scaled by it: rounded values stay where they converge.
_SAFETY = 1.01
POLAR_EXPRESS = (
    *((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in _OPTIMAL[:-1]),
    _OPTIMAL[-1],
)
_PRESETS = {
    "quintic": QUINTIC,
    "tuned5": TUNED5,
    "polar_express": POLAR_EXPRESS,
    "standard": QUINTIC,  # optax's names
    "dion": TUNED5,
}
# The rounding error of a Gram matrix grows by a^2 in each step. The error of five steps
# of "polar_express" against float64, in spectral norm at a condition of 1e3 to 1e6, is
# 5e-3 if all five share one Gram matrix. It is 2e-4 for groups of three and two, 6e-5
# for two and three (the first rows have the greatest a), 3e-5 for groups of one.
_GRAM_STEPS = 3


def as_coefficients(given: str | PyTree, steps: int, owner: object) -> PyTree:
    """Return a preset's numbers for `steps`, or the given ones, with lists as tuples.

    Raises:
      ValueError: if there is no such preset, or the shape is wrong.
    """
    name = type(owner).__name__
    if isinstance(given, str):
        if given not in _PRESETS:
            rule = f"one of {', '.join(_PRESETS)}, or numbers"
            raise argument_error(name, "ns_coeffs", given, rule, ValueError)
        given = _PRESETS[given]
        if given is POLAR_EXPRESS:  # its last row converges: repeat it
            given = (*given[:steps], *[given[-1]] * (steps - len(given)))
        elif given is TUNED5:  # its first rows may be replaced by preconditioning
            given = given[-steps:]
    shape = _shape(given)
    if shape != (3,) and (len(shape) != 2 or shape[1] != 3 or not shape[0]):
        with error_about(given):
            raise ValueError(
                f"{name}: ns_coeffs must have shape (3,), or (n, 3), a row for each "
                f"step, got {shape}."
            )
    return _tuples(given)


def rows_of(coefficients: PyTree, steps: int) -> list[Row]:
    """Return the row of each step: the only one `steps` times, or all of them."""
    shape = _shape(coefficients)
    rows = [coefficients[i] for i in range(shape[0])]
    return [(a, b, c) for a, b, c in ([rows] * steps if len(shape) == 1 else rows)]


def newton_schulz(
    x: jax.Array,
    rows: Sequence[Row],
    eps: Number,
    preconditioning: Preconditioning,
    dtype: DType,
) -> jax.Array:
    """Move the singular values of each matrix towards 1; keep its singular vectors.

        x <- a x + b (x x') x + c (x x')^2 x,   for (a, b, c) in rows

    Args:
      x: [stack, m, n] with m <= n, in at least float32.
      rows: (a, b, c) for each step.
      eps: see `Orthogonalize`.
      preconditioning: see `Orthogonalize`.
      dtype: dtype that the factors of products are rounded to, or None; sums are in at
        least float32.

    Returns:
      An array of the shape and dtype of `x`.
    """

    def dot(left: jax.Array, right: jax.Array) -> jax.Array:
        if dtype is None or jnp.iscomplexobj(x):
            return left @ right
        left, right = left.astype(dtype), right.astype(dtype)
        return jnp.matmul(left, right, preferred_element_type=wide_dtype(x))

    # Greater numbers would have infinite squares.
    most = jnp.max(jnp.abs(x), (-2, -1), keepdims=True, initial=0)
    x = x * jnp.where(most > 2.0**50, 1 / jnp.maximum(most, 1), 1)

    def directly(x: jax.Array) -> jax.Array:
        return _directly(x, rows, eps, preconditioning, dot)

    def on_a_cpu(x: jax.Array) -> jax.Array:
        _, m, n = x.shape
        most = _GRAM_STEPS if 2 * n > 3 * m else 1
        # A small product leaves cores idle; XLA runs independent products in parallel.
        parts = jnp.array_split(x, min(2, len(x)))
        return jnp.concatenate(
            [_by_gram(part, rows, eps, preconditioning, dot, most) for part in parts]
        )

    if dtype is not None and jnp.finfo(dtype).bits < 32:
        return directly(x)
    # Other devices round float32 factors (TF32, bfloat16): too coarse for a Gram
    # matrix.
    return jax.lax.platform_dependent(x, cpu=on_a_cpu, default=directly)


def _directly(
    x: jax.Array, rows: Sequence[Row], eps: Number, kind: Preconditioning, dot: Dot
) -> jax.Array:
    gram = dot(x, _adjoint(x))
    scale = _scale(gram, eps, kind)
    x, gram = scale * x, scale * gram * _adjoint(scale)
    for step, (a, b, c) in enumerate(rows):
        gram = dot(x, _adjoint(x)) if step else gram
        x = a * x + dot(b * gram + c * dot(gram, gram), x)
    return x


def _by_gram(
    x: jax.Array,
    rows: Sequence[Row],
    eps: Number,
    kind: Preconditioning,
    dot: Dot,
    most: int,
) -> jax.Array:
    """Iterate on the m by m Gram matrix, and multiply x once every `most` steps.

        p <- q p,   g <- q g q,   q = a + b g + c g^2,   g = x x'

    All these matrices commute. If n > 1.5 m and `most` is above 1 this is less work
    than the direct iteration. A singular value below the square root of the rounding
    error is lost in g, and that error is multiplied by a^2 in each step. So g is
    recomputed from x every few steps; the first group of steps is the shortest.

    With `most` 1 this is the direct iteration, except that `a x` is part of `q x`. If
    `a x` is added on its own, XLA may compute x twice, rounded differently, for the
    product and for `a x`. That difference is multiplied by a in every step, while an
    error of x itself is corrected.
    """
    parts = -(-len(rows) // most)
    starts = [len(rows) * part // parts for part in range(parts + 1)]
    for start, end in itertools.pairwise(starts):
        gram = dot(x, _adjoint(x))
        scale = jnp.ones((1, 1, 1), gram.dtype) if start else _scale(gram, eps, kind)
        gram = scale * gram * _adjoint(scale)
        factor = _polynomial(gram, rows[start:end], dot)
        x = dot(factor * _adjoint(scale), x)
    return x


def _polynomial(gram: jax.Array, rows: Sequence[Row], dot: Dot) -> jax.Array:
    product = None
    for step, (a, b, c) in enumerate(rows):
        factor = b * gram + c * dot(gram, gram) + a * jnp.eye(gram.shape[-1])[None]
        product = factor if product is None else dot(factor, product)
        if step < len(rows) - 1:
            gram = dot(factor, dot(factor, gram))
    assert product is not None
    return product


def _scale(gram: jax.Array, eps: Number, kind: Preconditioning) -> jax.Array:
    """Return the factors of the rows, [stack, m or 1, 1]; 0 for a matrix of zeros."""
    if kind == "frobenius":
        size = root(jnp.trace(gram, axis1=-2, axis2=-1).real) + eps
    elif kind == "spectral":
        size = root(jnp.maximum(jnp.linalg.eigvalsh(gram)[:, -1], 0)) + eps
    elif kind == "schatten":
        size = root(jnp.maximum(root(jnp.sum(abs_sq(gram), (-2, -1))), eps))
    else:
        size = root(jnp.maximum(jnp.sum(root(abs_sq(gram)), -1), eps))
    size = size.reshape(len(gram), -1, 1)
    some = size > 0
    return jnp.where(some, 1 / jnp.where(some, size, 1), 0)


def _adjoint(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x, -2, -1).conj()


def _shape(coefficients: PyTree) -> tuple[int, ...]:
    if not isinstance(coefficients, (tuple, list)):
        return tuple(getattr(coefficients, "shape", ()))
    inner = {_shape(part) for part in coefficients}
    return (len(coefficients), *inner.pop()) if len(inner) == 1 else ()


def _tuples(given: PyTree) -> PyTree:
    if isinstance(given, (tuple, list)):
        return tuple(map(_tuples, given))
    return as_number(given)
