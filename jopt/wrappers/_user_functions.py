"""Users' functions as fields of a transformation."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jopt.core import PyTree, as_number, pytree, standard_promotion, static


@pytree
class Function:
    """A function, which is static, and the numbers bound to it, which are leaves.

    It is like `jax.tree_util.Partial`, which orbax does not save.
    """

    func: Callable[..., PyTree] = static()
    args: tuple[PyTree, ...] = ()
    keywords: dict[str, PyTree] = dataclasses.field(default_factory=dict)

    def __call__(self, *args: PyTree, **kwargs: PyTree) -> PyTree:
        return self.func(*self.args, *args, **{**self.keywords, **kwargs})

    def __repr__(self) -> str:
        partial = functools.partial(self.func, *self.args, **self.keywords)
        return repr(partial if self.args or self.keywords else self.func)


def as_data(function: Callable[..., PyTree] | None) -> PyTree:
    """Return `function` as a pytree node that can be called like it.

    Numbers of a `functools.partial` become leaves, so that they can be swept; any other
    function is static. A callable that is a pytree already, and None, are returned as
    they are.
    """
    if function is None or not jax.tree_util.all_leaves([function]):
        return function
    if not isinstance(function, functools.partial):
        return Function(function)
    args, keywords = jax.tree.map(as_number, (function.args, function.keywords))
    return Function(function.func, args, keywords)


def called(function: Callable[..., PyTree], *args: PyTree, **kwargs: PyTree) -> PyTree:
    """Return what `function` returns, as arrays."""
    with standard_promotion():
        returned = function(*args, **kwargs)
    arrays = jax.tree.map(jnp.asarray, returned)
    # Cast to their own dtypes: arrays of Python numbers are weakly typed.
    return jax.tree.map(lambda x: x.astype(x.dtype), arrays)


def decision(flag: jax.Array, self: object, field: str) -> jax.Array:
    """Return `flag`, which the function in the field `field` of `self` returned.

    Raises:
      ValueError: if it is not a bool scalar.
    """
    if flag.shape == () and jnp.issubdtype(flag.dtype, jnp.bool):
        return flag
    raise ValueError(
        f"{type(self).__name__}: {field} must decide by a bool scalar, got "
        f"{flag.dtype}{list(flag.shape)}."
    )
