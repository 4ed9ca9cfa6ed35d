"""`@pytree`: a frozen dataclass whose fields are leaves unless static."""

import dataclasses
import functools
import inspect
import operator
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, cast, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jopt.core._arguments import Door, refusal

PyTree: TypeAlias = Any
Number: TypeAlias = jax.Array | float

T = TypeVar("T")


def field(
    *,
    converter: Callable[[Any], Any] | None = None,
    static: bool = False,
    **kwargs: Any,
) -> Any:
    """Declare a field of a `pytree` class.

    Args:
      converter: function of what the user gave; the field holds what it returns. It
        runs before `__post_init__`, and not where JAX rebuilds an object.
      static: whether the field changes the program: it is then hashable, compared by
        value and not a leaf.
      **kwargs: those of `dataclasses.field`, such as `default`.
    """
    metadata = {"static": static, "converter": converter}
    return dataclasses.field(metadata=metadata, **kwargs)


def static(**kwargs: Any) -> Any:
    """Declare a field that changes the program: `field(static=True)`.

    Args:
      **kwargs: those of `field`.
    """
    return field(static=True, **kwargs)


@dataclass_transform(
    frozen_default=True, field_specifiers=(field, static, dataclasses.field)
)
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass and a pytree: fields are leaves, unless static.

    Python integers in leaf fields become floats, so that `1` and `1.0` are one program
    and every number has a gradient. What is not of the kind that its field's annotation
    names is refused with a TypeError. Two objects are equal, and hash alike, when their
    structure and numbers are; arrays count as equal when they are the same object, so
    that comparing never waits for a device.

    Checks belong in `__post_init__` (see `check`): JAX rebuilds objects around tracers
    and placeholders without calling it.
    """
    check_fields = getattr(cls, "__post_init__", None)
    converters: dict[str, Callable[[Any], Any]] = {}

    def __post_init__(self: Any) -> None:
        held = self.__dict__  # the object is frozen
        for name, convert in converters.items():
            held[name] = convert(held[name])
        if check_fields is not None:
            check_fields(self)

    cast(Any, cls).__post_init__ = __post_init__
    made = cast(Any, dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls))
    fields = dataclasses.fields(made)
    converters |= {
        f.name: f.metadata["converter"] for f in fields if f.metadata.get("converter")
    }
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    fixed = tuple(f.name for f in fields if f.metadata.get("static"))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in leaves)
    dataclass_init = made.__init__
    dataclass_init.__qualname__ = cls.__name__  # as Python's own errors call it
    parameters = list(inspect.signature(dataclass_init).parameters.values())[1:]
    # Of leaves that are no numbers JAX and users make what they like: shardings, say.
    asked = {f.name for f in fields if f.name in fixed or _is_asked(f.type)}
    door = Door(lambda: _factory_name(made), parameters, asked)

    @functools.wraps(dataclass_init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        door.check(cls.__name__, args, kwargs)
        try:
            dataclass_init(self, *args, **kwargs)
            for name in leaves:
                value = self.__dict__[name]
                if type(value) is int:
                    self.__dict__[name] = float(value)
                elif isinstance(value, str):
                    raise refusal(cls.__name__, name, value, "a number", TypeError)
        except Exception as error:
            door.explain(error, cls.__name__, args, kwargs)
            raise

    def flatten(self: Any):
        held = self.__dict__
        return [held[name] for name in leaves], tuple(held[name] for name in fixed)

    def flatten_with_keys(self: Any):
        children, aux = flatten(self)
        return list(zip(keys, children, strict=True)), aux

    def unflatten(aux: tuple[Any, ...], children: Any) -> Any:
        # Not made(...): JAX rebuilds objects around None, 0 and tracers, and those must
        # not meet the checks that __post_init__ makes of a user's numbers.
        self = object.__new__(made)
        self.__dict__.update(zip(leaves, children, strict=True))
        self.__dict__.update(zip(fixed, aux, strict=True))
        return self

    made.__init__ = __init__
    made.__eq__ = lambda self, other: (
        type(self) is type(other) and _identity(self) == _identity(other)
    )
    made.__hash__ = lambda self: hash(_identity(self))
    if "__repr__" not in cls.__dict__:
        made.__repr__ = _represent
    jax.tree_util.register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)
    return made


def check(
    self: object,
    *fields: str,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    hint: str = "",
) -> None:
    """Raise a ValueError that names class, field, rule and value, if a rule is broken.

    Looks at concrete numbers only: tracers, arrays, schedules and None pass. NaN breaks
    every rule.

    least, most: bounds that may be reached. above, below: bounds that may not. hint: a
    sentence that says what to do instead.
    """
    rules = {
        "at least": (least, operator.ge),
        "at most": (most, operator.le),
        "above": (above, operator.gt),
        "below": (below, operator.lt),
    }
    for field in fields:
        value = getattr(self, field)
        if not isinstance(value, (int, float, np.number)):
            continue
        broken = [
            f"{words} {limit:g}"
            for words, (limit, kept) in rules.items()
            if limit is not None and not kept(value, limit)
        ]
        if broken:
            title, rule = type(self).__name__, " and ".join(broken)
            raise refusal(title, field, value, rule, ValueError, hint)


def _is_asked(annotation: Any) -> bool:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(map(_is_asked, parts))
    return annotation is float or origin in (
        typing.Annotated,
        Callable,
        Sequence,
        tuple,
    )


def _factory_name(cls: type) -> str:
    """Return the name of the function that the class is called as, or its own."""
    names = vars(sys.modules[cls.__module__]).items()
    return next((n for n, v in names if v is cls and n.islower()), cls.__name__)


def _identity(self: Any) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(self)
    arrays = (jax.Array, np.ndarray)
    return structure, tuple(id(x) if isinstance(x, arrays) else x for x in leaves)


@reprlib.recursive_repr()
def _represent(self: Any) -> str:
    shown = ", ".join(
        f"{f.name}={_short(self.__dict__[f.name])}" for f in dataclasses.fields(self)
    )
    return f"{type(self).__name__}({shown})"


def _short(value: Any) -> str:
    """Arrays of more than one number by dtype and shape, everything else in full."""
    if isinstance(value, (jax.Array, np.ndarray)):
        key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        if isinstance(value, Tracer) or key or value.size != 1:
            return f"{value.dtype}{list(value.shape)}"
        return f"{value.item():g}" if value.ndim == 0 else repr(value.tolist())
    if isinstance(value, tuple):
        inner = ", ".join(_short(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)
