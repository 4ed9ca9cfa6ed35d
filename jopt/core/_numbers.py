"""The arithmetic that transformations share: wide dtypes, means, roots."""

import numbers
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp

from jopt.core._pytree import Number, PyTree


def dtype_of(x: Any) -> Any:
    """The dtype of an array, a Python number or a `jax.ShapeDtypeStruct`."""
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


def as_number(x: Any) -> Any:
    """Return `x`, a Python integer as a float: as a leaf it then has a gradient."""
    return float(x) if type(x) is int else x


def standard_promotion() -> AbstractContextManager[None]:
    """Return a context in which dtypes are promoted by JAX's own rules.

    The user may have set `jax_numpy_dtype_promotion="strict"`. Functions of the user
    and of other libraries count on the standard rules. jopt's own rules count on them
    where all operands are wide: what is left to promote is float32 to float64, or a
    real number to a complex array, and neither loses anything.
    """
    return jax.numpy_dtype_promotion("standard")


def wide_dtype(x: Any) -> Any:
    """The dtype to compute in: the array's own, but at least float32."""
    dtype = dtype_of(x)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return jnp.result_type(float)
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def wide(x: Any) -> jax.Array:
    """Return `x` in at least float32; integers become floats."""
    x = jnp.asarray(x)
    return x if x.dtype == wide_dtype(x) else x.astype(wide_dtype(x))


def wide_numbers(tree: PyTree) -> PyTree:
    """Return `tree` with its numbers, signed integers too, in at least float32.

    Keys and masks (unsigned, bool) are left as they are.
    """
    kinds = (jnp.inexact, jnp.signedinteger)

    def leaf(x: Any) -> Any:
        return wide(x) if any(jnp.issubdtype(dtype_of(x), k) for k in kinds) else x

    return jax.tree.map(leaf, tree)


def increment(count: jax.Array) -> jax.Array:
    """Return `count + 1`, staying at the greatest integer rather than wrapping."""
    return jnp.where(count < jnp.iinfo(count.dtype).max, count + 1, count)


def mix(old: jax.Array, new: jax.Array, decay: Number) -> jax.Array:
    """Return the running mean `decay old + (1 - decay) new`."""
    return decay * old + (1 - decay) * new


def bias(decay: Number, count: jax.Array) -> jax.Array:
    """Return `1 - decay ** count`, the weight that `count` steps give a running mean.

    Near `decay = 1` the difference cancels, so it is formed by logarithms there.
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
    """Return the running mean over its weight; or one step on, by Nesterov's guess.

        mean / weight, or decay mean / ahead + (1 - decay) new / weight

    weight: `bias` of now. ahead: `bias` of the next step, or None for no guess.
    """
    if ahead is None:
        return mean / weight
    return mix(mean / ahead, new / weight, decay)


@jax.custom_jvp
def root(x: jax.Array) -> jax.Array:
    """Return the square root, whose gradient at zero is zero rather than infinite."""
    return jnp.sqrt(x)


@root.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> Any:
    y = root(*primals)
    return y, quotient(*tangents, 2 * y)


def abs_sq(x: jax.Array) -> jax.Array:
    """Return the square of the modulus: real, whatever `x` is."""
    return jnp.square(x) if jnp.isrealobj(x) else x.real**2 + x.imag**2


def norm(x: jax.Array) -> jax.Array:
    """Return the root of the sum of the squares, whose gradient at zero is zero."""
    return root(jnp.sum(abs_sq(x)))


def rms(x: jax.Array) -> jax.Array:
    """Return the root of the mean of the squares: zero where there is nothing."""
    return norm(x) / max(x.size, 1) ** 0.5


def shrink(norm: jax.Array, limit: Number) -> jax.Array:
    """Return the factor that brings `norm` to at most `limit`: 1 if it is there.

    Without a choice: XLA's CPU backend would make it anew in the update of each leaf,
    and compile hundreds of them for minutes.
    """
    numbers = jnp.finfo(norm.dtype)
    # Neither 0 / 0 nor inf / inf.
    norm = jnp.minimum(norm, jnp.where(limit <= numbers.max, jnp.inf, numbers.max))
    limit = jnp.clip(limit, numbers.tiny, numbers.max)
    return limit / jnp.maximum(norm, limit)


def over_root(x: jax.Array, squares: jax.Array, eps: Number) -> jax.Array:
    """Return `x / sqrt(squares + eps)`, and 0 where `squares` is 0."""
    some = squares > 0
    return jnp.where(some, x * jax.lax.rsqrt(jnp.where(some, squares, 1) + eps), 0)


def quotient(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return `x / y`, and 0 where `y` is 0, where its gradient is zero too."""
    none = y == 0
    return jnp.where(none, 0, x / jnp.where(none, 1, y))


def is_real(value: Any) -> bool:
    """Return whether `value` is one real number and not a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """Return whether `value` is one integer, Python's or NumPy's, and not a bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
