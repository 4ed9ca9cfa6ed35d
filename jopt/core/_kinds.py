"""`Kind`: the values that an annotation accepts, in words and as a predicate."""

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
    """The values that an argument accepts: `Annotated[T, Kind(...)]`.

    Args:
      words: what the argument must be, as an error says it.
      fits: returns whether a value is accepted.
      error: the class of the error for other values.
      hint: a sentence that the error ends with.
      late: whether `fits` is asked only after the function has failed, because it reads
        every leaf of a tree.
    """

    words: str
    fits: Callable[[Any], bool]
    error: type[Exception] = TypeError
    hint: str = ""
    late: bool = False


def is_number(value: object) -> bool:
    """Return whether `value` is a real number that a float can hold, or an array."""
    if isinstance(value, _ARRAYS):
        kinds = (jnp.integer, jnp.floating)
        return any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, float) or hasattr(value, "__jax_array__")


def is_array(value: object) -> bool:
    """Return whether JAX accepts `value` as an array of numbers, bools or keys."""
    if isinstance(value, (bool, float, complex)):
        return True
    if isinstance(value, int):
        return -(2**31) <= value < 2**31
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    numeric = hasattr(value, "shape") and kind not in tuple("OSUMm")
    key = isinstance(value, jax.Array)
    return numeric or key or hasattr(value, "__jax_array__")


def _is_int32(value: object) -> bool:
    """Return whether `value` is an integer of 32 bits, signed or unsigned."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return False
    return -(2**31) <= int(value) < 2**32


def _is_seed(value: Any) -> bool:
    return _is_int32(value) and value >= 0


def is_count(value: Any) -> bool:
    """Return whether `value` is an integer from 1 to 2**31 - 1."""
    return _is_int32(value) and 1 <= value < 2**31


def _is_key(value: object) -> bool:
    kinds = (jax.dtypes.prng_key, jnp.integer)
    return _is_int32(value) or (
        isinstance(value, _ARRAYS)
        and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    )


def _is_tree(value: object) -> bool:
    return value is not None and all(map(is_array, jax.tree.leaves(value)))


def _is_float_tree(value: object) -> bool:
    leaves = jax.tree.leaves(value) if _is_tree(value) else []
    return bool(leaves) and all(
        jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves
    )


def _is_state(value: object) -> bool:
    return not jax.tree_util.all_leaves([value]) and value is not None


def is_path(value: object) -> bool:
    """Return whether `value` is a path that the file system can represent."""
    return isinstance(value, (str, os.PathLike)) and "\0" not in os.fspath(value)


def is_dtype(value: Any) -> bool:
    """Return whether `value` is a dtype of real or complex floats, or None."""
    if value is None:
        return True
    try:
        return jnp.issubdtype(jnp.dtype(value), jnp.inexact)
    except TypeError:
        return False


DType: TypeAlias = Annotated[
    Any,
    Kind("a dtype of floats or None", is_dtype, hint="Give jnp.bfloat16, say."),
]
FilePath: TypeAlias = Annotated[
    str | os.PathLike[str], Kind("a path, without a NUL in it", is_path)
]
Seed: TypeAlias = Annotated[int, Kind("an integer from 0 to 2**32 - 1", _is_seed)]
Count: TypeAlias = Annotated[int, Kind("an integer of at least 1", is_count)]
Key: TypeAlias = Annotated[
    jax.Array | int, Kind("a key of jax.random.key or an integer", _is_key)
]
Arrays: TypeAlias = Annotated[Any, Kind("a tree of arrays", _is_tree, late=True)]
Params: TypeAlias = Annotated[
    Any, Kind("a tree of arrays of floats", _is_float_tree, late=True)
]
State: TypeAlias = Annotated[
    Any, Kind("the state that init returned", _is_state, late=True)
]

_KINDS: dict[object, Kind] = {
    float: Kind("a number", is_number),
    int: Kind("an integer", _is_int32),
    bool: Kind("True or False", lambda value: isinstance(value, (bool, np.bool_))),
    str: Kind("a string", lambda value: isinstance(value, str)),
    type(None): Kind("None", lambda value: value is None),
}
_ARRAY = Kind("an array", lambda value: isinstance(value, _ARRAYS))


def kind_of(annotation: Any) -> Kind | None:
    """Return the kind of an annotation, or None if it accepts any value."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return parts[1]
    if origin in (typing.Union, types.UnionType):
        # `float` accepts arrays of numbers, so `float | jax.Array` accepts no more.
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
    # Other libraries' classes are not checked: duck typing is allowed.
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
    # A bare function is one way to give a schedule.
    if "a schedule" in words:
        words = [word for word in words if word != "a function"]
    error = ValueError if any(k.error is ValueError for k in kinds) else TypeError
    hint = " ".join(filter(None, (kind.hint for kind in kinds)))
    fits = lambda value: any(kind.fits(value) for kind in kinds)  # noqa: E731
    return Kind(" or ".join(words), fits, error, hint)


def _list_of(each: Kind | None) -> Kind:
    name, fits = ("values", None) if each is None else (_several(each), each.fits)

    def all_fit(value: object) -> bool:
        if isinstance(value, _ARRAYS):
            return value.ndim > 0
        return isinstance(value, (tuple, list)) and (
            fits is None or all(map(fits, value))
        )

    return Kind(f"a list of {name}", all_fit)


def _tuple_of(each: Kind | None, size: int) -> Kind:
    listed = _list_of(each)
    words = f"a tuple of {size} {listed.words.removeprefix('a list of ')}"
    return Kind(words, lambda value: listed.fits(value) and len(value) == size)


def _several(kind: Kind) -> str:
    return f"{kind.words.removeprefix('a ').removeprefix('an ')}s"


def _same(value: object, other: object) -> bool:
    return type(value) is type(other) and value == other
