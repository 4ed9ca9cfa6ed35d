"""A user's function inside a transformation."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jopt.core import as_number, pytree, static


@pytree
class Function:
    """A function, which is structure, and the numbers it was given, which are leaves.

    As `jax.tree_util.Partial` is, which orbax does not save.
    """

    func: Callable[..., Any] = static()
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*self.args, *args, **{**self.keywords, **kwargs})

    def __repr__(self) -> str:
        partial = functools.partial(self.func, *self.args, **self.keywords)
        return repr(partial if self.args or self.keywords else self.func)


def as_data(function: Callable[..., Any] | None) -> Any:
    """Return `function` as a pytree node that is called like it.

    Numbers of a `functools.partial` become leaves, so that they can be swept; any other
    function is structure. A callable that is a pytree already, and None, stay as they
    are.
    """
    if function is None or not jax.tree_util.all_leaves([function]):
        return function
    if not isinstance(function, functools.partial):
        return Function(function)
    args, keywords = jax.tree.map(as_number, (function.args, function.keywords))
    return Function(function.func, args, keywords)


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
