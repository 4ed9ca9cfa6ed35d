"""A user's function inside a transformation."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jopt._numbers import as_number


def as_data(function: Callable[..., Any]) -> Any:
    """Return `function` as a pytree node that is called like it.

    Numbers of a `functools.partial` become leaves, so that they can be swept; any other
    function is structure. A callable that is a pytree already stays as it is.
    """
    if not jax.tree_util.all_leaves([function]):
        return function
    if not isinstance(function, functools.partial):
        return jax.tree_util.Partial(function)
    args, keywords = jax.tree.map(as_number, (function.args, function.keywords))
    return jax.tree_util.Partial(function.func, *args, **keywords)


def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what `function` returns, as arrays."""
    # Others count on JAX's own promotion, whatever the user's is.
    with jax.numpy_dtype_promotion("standard"):
        returned = function(*args, **kwargs)
    arrays = jax.tree.map(jnp.asarray, returned)
    # To their own dtypes: what Python numbers make is else weakly typed.
    return jax.tree.map(lambda x: x.astype(x.dtype), arrays)


def decision(flag: jax.Array, self: object, field: str) -> jax.Array:
    """Return what the function in `field` of `self` decided, a bool scalar.

    Raises a ValueError if it is none.
    """
    if flag.shape == () and jnp.issubdtype(flag.dtype, jnp.bool):
        return flag
    raise ValueError(
        f"{type(self).__name__}: {field} must decide by a bool scalar, got "
        f"{flag.dtype}{list(flag.shape)}."
    )
