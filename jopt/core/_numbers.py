"""Arithmetic that transformations share: wide dtypes, running means, roots.

*Wide* means at least float32: float64 and complex numbers keep their dtype.
"""

import numbers
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jopt.core._pytree import Number, PyTree


def dtype_of(x: PyTree) -> Any:
    """Return the dtype of an array, a Python number or a `jax.ShapeDtypeStruct`.

    Args:
      x: one of these.
    """
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


def as_number(x: Any) -> Any:
    """Return a Python integer as a float, which has a gradient; anything else as is.

    Args:
      x: a Python number, or anything else.
    """
    return float(x) if type(x) is int else x


def standard_promotion() -> AbstractContextManager[None]:
    """Return a context in which dtypes are promoted by JAX's own rules.

    The user may have set `jax_numpy_dtype_promotion="strict"`. Functions of the user
    and of other libraries count on the standard rules. jopt's own rules count on them
    where all operands are wide: the promotions that remain, float32 to float64 and real
    to complex, lose nothing.
    """
    return jax.numpy_dtype_promotion("standard")


def wide_dtype(x: PyTree) -> Any:
    """Return the dtype to compute in: that of `x`, but at least float32.

    Args:
      x: an array, a number or a `jax.ShapeDtypeStruct`.
    """
    dtype = dtype_of(x)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return jnp.result_type(float)
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def wide(x: ArrayLike) -> jax.Array:
    """Return `x` in at least float32; integers become floats.

    Args:
      x: an array or a number.
    """
    x = jnp.asarray(x)
    return x if x.dtype == wide_dtype(x) else x.astype(wide_dtype(x))


def wide_numbers(tree: PyTree) -> PyTree:
    """Return `tree` with its floats and signed integers in at least float32.

    Keys (unsigned integers) and masks (bools) keep their dtype.

    Args:
      tree: a tree of arrays.
    """
    kinds = (jnp.inexact, jnp.signedinteger)

    def leaf(x: PyTree) -> PyTree:
        return wide(x) if any(jnp.issubdtype(dtype_of(x), k) for k in kinds) else x

    return jax.tree.map(leaf, tree)


def increment(count: jax.Array) -> jax.Array:
    """Return `count + 1`, saturating at the greatest integer of its dtype.

    Args:
      count: an integer array.
    """
    return jnp.where(count < jnp.iinfo(count.dtype).max, count + 1, count)


def mix(old: jax.Array, new: jax.Array, decay: Number) -> jax.Array:
    """Return the running mean `decay old + (1 - decay) new`.

    Args:
      old: the mean so far.
      new: the value to include.
      decay: share of `old` in the result, in [0, 1].
    """
    return decay * old + (1 - decay) * new


def bias(decay: Number, count: jax.Array) -> jax.Array:
    """Return `1 - decay ** count`, the total weight of a running mean from zero.

    Adam divides by it to correct the bias of its moments. Near `decay = 1` the
    difference cancels, so it is computed by logarithms there.

    Args:
      decay: decay of the running mean, in [0, 1).
      count: the number of steps so far, an integer array.
    """
    decay = wide(decay)
    count = count.astype(decay.dtype)
    near = decay > 0.5
    by_logs = -jnp.expm1(count * jnp.log1p(jnp.where(near, decay, 0.75) - 1))
    return jnp.where(near, by_logs, 1 - jnp.where(near, 0.25, decay) ** count)


def debiased(
    mean: jax.Array,
    new: jax.Array,
    decay: Number,
    weight: jax.Array,
    ahead: jax.Array | None = None,
) -> jax.Array:
    """Return a running mean without its bias, or Nesterov's estimate of the next one.

        mean / weight, or decay mean / ahead + (1 - decay) new / weight

    Args:
      mean: the running mean.
      new: the value that was last added to it.
      decay: the decay of the mean.
      weight: `bias(decay, count)`.
      ahead: `bias(decay, count + 1)` for Nesterov's estimate, else None.
    """
    if ahead is None:
        return mean / weight
    return mix(mean / ahead, new / weight, decay)


@jax.custom_jvp
def root(x: jax.Array) -> jax.Array:
    """Return the square root, with a gradient of zero at zero rather than infinity."""
    return jnp.sqrt(x)


@root.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> Any:
    y = root(*primals)
    return y, quotient(*tangents, 2 * y)


def abs_sq(x: jax.Array) -> jax.Array:
    """Return `|x| ** 2`, which is real for complex `x`, too.

    Args:
      x: an array, real or complex.
    """
    return jnp.square(x) if jnp.isrealobj(x) else x.real**2 + x.imag**2


def norm(x: jax.Array) -> jax.Array:
    """Return the 2-norm of all elements, with a gradient of zero at zero.

    Args:
      x: an array.
    """
    return root(jnp.sum(abs_sq(x)))


def rms(x: jax.Array) -> jax.Array:
    """Return the root mean square of all elements, zero for an empty array.

    Args:
      x: an array.
    """
    return norm(x) / max(x.size, 1) ** 0.5


def shrink(norm: jax.Array, limit: Number) -> jax.Array:
    """Return the factor that brings `norm` to at most `limit`: 1 if it is below.

    Args:
      norm: a scalar, at least 0.
      limit: the greatest norm allowed, at least 0.
    """
    # There is no `where` on the result: XLA's CPU backend would recompute it in the
    # update of each leaf, and compile hundreds of copies for minutes.
    numbers = jnp.finfo(norm.dtype)
    # Avoid 0 / 0 and inf / inf.
    norm = jnp.minimum(norm, jnp.where(limit <= numbers.max, jnp.inf, numbers.max))
    limit = jnp.clip(limit, numbers.tiny, numbers.max)
    return limit / jnp.maximum(norm, limit)


def over_root(x: jax.Array, squares: jax.Array, eps: Number) -> jax.Array:
    """Return `x / sqrt(squares + eps)`, or 0 where `squares` is 0.

    Args:
      x: an array.
      squares: an array like `x`, at least 0.
      eps: a number, at least 0, added under the root.
    """
    some = squares > 0
    return jnp.where(some, x * jax.lax.rsqrt(jnp.where(some, squares, 1) + eps), 0)


def quotient(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return `x / y`, or 0 with a gradient of zero where `y` is 0.

    Args:
      x: an array.
      y: an array like `x`.
    """
    none = y == 0
    return jnp.where(none, 0, x / jnp.where(none, 1, y))


def is_real(value: object) -> bool:
    """Return whether `value` is one real number and not a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """Return whether `value` is one integer, Python's or NumPy's, and not a bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
