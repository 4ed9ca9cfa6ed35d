"""`pytree`: frozen dataclasses whose fields are leaves, unless they are static."""

import dataclasses
import functools
import inspect
import operator
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, cast, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jopt.core._arguments import ArgumentChecks
from jopt.core._errors import argument_error

PyTree: TypeAlias = Any
Number: TypeAlias = jax.Array | float
TreePath: TypeAlias = tuple[str, ...]  # names from the root of a tree to a node

T = TypeVar("T")


class TreeDef(Hashable, Protocol):
    """The structure of a tree, `jax.tree.structure` of it."""

    def unflatten(self, leaves: Iterable[Any], /) -> Any: ...


def field(
    *,
    converter: Callable[[Any], Any] | None = None,
    static: bool = False,
    **kwargs: Any,
) -> Any:
    """Declare a field of a `pytree` class.

        mask: Mask | None = jopt.field(converter=as_mask, static=True, default=None)

    Args:
      converter: function from the user's argument to the value of the field. It runs
        before `__post_init__`, and not when JAX rebuilds an object.
      static: whether the field is part of the program rather than data. A static field
        is not a leaf; its value must be hashable and is compared by value. Use it for
        everything that changes the program: bools, masks, functions, lengths.
      **kwargs: arguments of `dataclasses.field`, such as `default`.

    Returns:
      The field, typed as `Any` so that it can be assigned to any annotation.
    """
    metadata = {"static": static, "converter": converter}
    return dataclasses.field(metadata=metadata, **kwargs)


def static(**kwargs: Any) -> Any:
    """Declare a field that changes the program: `field(static=True)`.

        nesterov: bool = jopt.static(default=False)

    Args:
      **kwargs: arguments of `field`, such as `default` and `converter`.

    Returns:
      The field.
    """
    return field(static=True, **kwargs)


@dataclass_transform(
    frozen_default=True, field_specifiers=(field, static, dataclasses.field)
)
def pytree(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a pytree whose fields are its leaves.

        @jopt.pytree
        class Bowl:
            depth: float = 1.0
            name: str = jopt.static(default="bowl")

    Fields declared by `static` are part of the tree's structure.

    Arguments are checked by the annotations of their fields. A Python integer in a
    leaf field becomes a float, so that `1` and `1.0` give one program and every number
    has a gradient.

    Two objects are equal, and have equal hashes, if their structures and numbers are
    equal. Arrays are equal only if they are the same object, so that a comparison never
    waits for a device.

    Write checks of values in `__post_init__` (see `check`). JAX rebuilds objects around
    tracers and placeholders without calling it.

    Args:
      cls: a class with annotated fields.

    Returns:
      The class. Its constructor raises TypeError for an argument that is missing,
      unknown or of the wrong type, and ValueError for one that is not among a
      `Literal`'s values.
    """
    check_fields = getattr(cls, "__post_init__", None)
    converters: dict[str, Callable[[Any], Any]] = {}

    def __post_init__(self: Any) -> None:
        held = self.__dict__  # assignment to a frozen object raises
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
    dataclass_init.__qualname__ = cls.__name__  # Python's own errors show this name
    parameters = list(inspect.signature(dataclass_init).parameters.values())[1:]
    # Leaves that are not numbers stay unchecked: JAX and users put other objects in
    # their places, such as shardings.
    asked = {f.name for f in fields if f.name in fixed or _is_asked(f.type)}
    checks = ArgumentChecks(lambda: _factory_name(made), parameters, asked)

    @functools.wraps(dataclass_init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        checks.check(cls.__name__, args, kwargs)
        try:
            dataclass_init(self, *args, **kwargs)
            for name in leaves:
                value = self.__dict__[name]
                if type(value) is int:
                    self.__dict__[name] = float(value)
                elif isinstance(value, str):
                    raise argument_error(
                        cls.__name__, name, value, "a number", TypeError
                    )
        except Exception as error:
            checks.explain(error, cls.__name__, args, kwargs)
            raise

    def flatten(self: Any):
        held = self.__dict__
        return [held[name] for name in leaves], tuple(held[name] for name in fixed)

    def flatten_with_keys(self: Any):
        children, aux = flatten(self)
        return list(zip(keys, children, strict=True)), aux

    def unflatten(aux: tuple[object, ...], children: Iterable[Any]) -> T:
        # Not made(...): JAX rebuilds objects around None, 0 and tracers, which must not
        # meet the checks that __post_init__ makes of a user's numbers.
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
    """Raise ValueError if a field's number is outside the given bounds.

        def __post_init__(self):
            jopt.check(self, "b1", "b2", least=0, below=1)

    Only concrete numbers are checked: tracers, arrays, schedules and None pass. NaN is
    outside any bounds.

    Args:
      self: the object whose fields are checked.
      *fields: names of the fields.
      least: the smallest value allowed.
      most: the largest value allowed.
      above: a bound that the value must exceed.
      below: a bound that the value must stay under.
      hint: a sentence for the error that says what to do instead.

    Raises:
      ValueError: names the class, the field, the rule and the value, such as
        "ScaleByAdam: b1 must be below 1, got 1.0."
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
            raise argument_error(title, field, value, rule, ValueError, hint)


def _is_asked(annotation: object) -> bool:
    """Return whether values of a leaf field with this annotation are checked."""
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
    """Return the lower-case alias of a class in its module, or the class's name."""
    names = vars(sys.modules[cls.__module__]).items()
    return next((n for n, v in names if v is cls and n.islower()), cls.__name__)


def _identity(self: object) -> tuple[object, ...]:
    """Return the value by which objects of `pytree` classes compare and hash."""
    leaves, structure = jax.tree.flatten(self)
    arrays = (jax.Array, np.ndarray)
    return structure, tuple(id(x) if isinstance(x, arrays) else x for x in leaves)


@reprlib.recursive_repr()
def _represent(self: Any) -> str:
    shown = ", ".join(
        f"{f.name}={_short(self.__dict__[f.name])}" for f in dataclasses.fields(self)
    )
    return f"{type(self).__name__}({shown})"


def _short(value: object) -> str:
    """Return dtype and shape of arrays of several numbers, and the repr of the rest."""
    if isinstance(value, (jax.Array, np.ndarray)):
        key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        if isinstance(value, Tracer) or key or value.size != 1:
            return f"{value.dtype}{list(value.shape)}"
        return f"{value.item():g}" if value.ndim == 0 else repr(value.tolist())
    if isinstance(value, tuple):
        inner = ", ".join(_short(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)
