"""What an argument must be, as its annotation says."""

import os
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

_ARRAYS = (jax.Array, np.ndarray, np.generic)


class Kind(NamedTuple):
    """What an argument must be, in words, and whether a value is."""

    words: str
    fits: Callable[[Any], bool]
    error: type[Exception] = TypeError
    hint: str = ""
    late: bool = False  # asked only after the function failed: it reads every leaf


def is_number(value: Any) -> bool:
    """Whether it is a real number that a float can hold, or an array of them."""
    if isinstance(value, _ARRAYS):
        kinds = (jnp.integer, jnp.floating)
        return any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, float) or hasattr(value, "__jax_array__")


def is_array(value: Any) -> bool:
    """Whether JAX takes it as an array: of numbers, bools or keys."""
    if isinstance(value, (bool, float, complex)):
        return True
    if isinstance(value, int):
        return -(2**31) <= value < 2**31
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    numeric = hasattr(value, "shape") and kind not in tuple("OSUMm")
    key = isinstance(value, jax.Array)
    return numeric or key or hasattr(value, "__jax_array__")


def is_integer(value: Any) -> bool:
    """Whether it is an integer of 32 bits, signed or not."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return False
    return -(2**31) <= int(value) < 2**32


def _is_seed(value: Any) -> bool:
    return is_integer(value) and value >= 0


def is_count(value: Any) -> bool:
    """Whether it is an integer from 1 to 2**31 - 1."""
    return is_integer(value) and 1 <= value < 2**31


def _is_key(value: Any) -> bool:
    kinds = (jax.dtypes.prng_key, jnp.integer)
    array = isinstance(value, _ARRAYS)
    return is_integer(value) or (
        array and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    )


def _is_tree(value: Any) -> bool:
    return value is not None and all(map(is_array, jax.tree.leaves(value)))


def _is_float_tree(value: Any) -> bool:
    leaves = jax.tree.leaves(value) if _is_tree(value) else []
    return bool(leaves) and all(
        jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves
    )


def _is_state(value: Any) -> bool:
    return not jax.tree_util.all_leaves([value]) and value is not None


def is_path(value: Any) -> bool:
    """Whether it is a path that a file can have."""
    return isinstance(value, (str, os.PathLike)) and "\0" not in os.fspath(value)


def is_dtype(value: Any) -> bool:
    """Whether it is a dtype of real or complex floats, or None."""
    if value is None:
        return True
    try:
        return jnp.issubdtype(jnp.dtype(value), jnp.inexact)
    except TypeError:
        return False


DType: TypeAlias = Annotated[
    Any, Kind("a dtype of floats or None", is_dtype, hint="Give jnp.bfloat16, say.")
]

FilePath: TypeAlias = Annotated[
    str | os.PathLike[str], Kind("a path, without a NUL in it", is_path)
]
Seed: TypeAlias = Annotated[int, Kind("an integer from 0 to 2**32 - 1", _is_seed)]
Count: TypeAlias = Annotated[int, Kind("an integer of at least 1", is_count)]
Key: TypeAlias = Annotated[Any, Kind("a key of jax.random.key or an integer", _is_key)]
Arrays: TypeAlias = Annotated[Any, Kind("a tree of arrays", _is_tree, late=True)]
Params: TypeAlias = Annotated[
    Any, Kind("a tree of arrays of floats", _is_float_tree, late=True)
]
State: TypeAlias = Annotated[
    Any, Kind("the state that init returned", _is_state, late=True)
]

_KINDS: dict[Any, Kind] = {
    float: Kind("a number", is_number),
    int: Kind("an integer", is_integer),
    bool: Kind("True or False", lambda value: isinstance(value, (bool, np.bool_))),
    str: Kind("a string", lambda value: isinstance(value, str)),
    type(None): Kind("None", lambda value: value is None),
}
_ARRAY = Kind("an array", lambda value: isinstance(value, _ARRAYS))


def kind_of(annotation: Any) -> Kind | None:
    """Return what an annotation asks of a value; None if that may be anything."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return parts[1]
    if origin in (typing.Union, types.UnionType):
        # A number may be an array of numbers: not any array.
        single = [p for p in parts if p is not jax.Array or float not in parts]
        kinds = [_ARRAY if p is jax.Array else kind_of(p) for p in single]
        known = [kind for kind in kinds if kind is not None]
        return _either(known) if len(known) == len(kinds) else None
    if origin is typing.Literal:
        words = f"one of {', '.join(map(str, parts))}"
        return Kind(
            words, lambda value: any(_same(value, p) for p in parts), ValueError
        )
    if annotation in _KINDS:
        return _KINDS[annotation]
    if origin is Callable:
        return Kind("a function", callable)
    if origin is Sequence or (origin is tuple and parts[1:] == (...,)):
        return _list_of(kind_of(parts[0]))
    if origin is tuple and len(set(parts)) == 1:
        return _tuple_of(kind_of(parts[0]), len(parts))
    cls = origin or annotation
    # Of another class, of the user's or of JAX, anything alike may come.
    ours = getattr(cls, "__module__", "").startswith(("jopt.", "collections.abc"))
    ours = ours or cls is dict
    if not isinstance(cls, type) or not ours or getattr(cls, "_is_protocol", False):
        return None
    place = "sweep." if ".sweep." in cls.__module__ else "jopt."
    known = {"Schedule": "schedule", "Mapping": "dict", "dict": "dict"}
    foreign = not cls.__module__.startswith("jopt.")
    name = known.get(cls.__name__, cls.__name__ if foreign else place + cls.__name__)
    return Kind(f"a {name}", lambda value: isinstance(value, cls))


def _either(kinds: list[Kind]) -> Kind:
    words = list(dict.fromkeys(kind.words for kind in kinds))
    # A schedule may be a bare function.
    if "a schedule" in words:
        words = [word for word in words if word != "a function"]
    error = ValueError if any(k.error is ValueError for k in kinds) else TypeError
    hint = " ".join(filter(None, (kind.hint for kind in kinds)))
    fits = lambda value: any(kind.fits(value) for kind in kinds)  # noqa: E731
    return Kind(" or ".join(words), fits, error, hint)


def _list_of(each: Kind | None) -> Kind:
    name, fits = ("values", None) if each is None else (_several(each), each.fits)

    def all_fit(value: Any) -> bool:
        if isinstance(value, _ARRAYS):
            return value.ndim > 0
        return isinstance(value, (tuple, list)) and all(map(fits or _any, value))

    return Kind(f"a list of {name}", all_fit)


def _tuple_of(each: Kind | None, size: int) -> Kind:
    listed = _list_of(each)
    words = f"a tuple of {size} {listed.words.removeprefix('a list of ')}"
    return Kind(words, lambda value: listed.fits(value) and len(value) == size)


def _several(kind: Kind) -> str:
    return f"{kind.words.removeprefix('a ').removeprefix('an ')}s"


def _any(value: Any) -> bool:
    return True


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and value == other
