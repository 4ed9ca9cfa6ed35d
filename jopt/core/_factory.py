"""The arguments of a factory of transformations, split into numbers and settings."""

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import numpy as np

from jopt.core._errors import close_match, shown
from jopt.core._kinds import Kind
from jopt.core._schedule import Schedule
from jopt.core._transformation import GradientTransformation


def _is_factory(value: Any) -> bool:
    return callable(value) and not isinstance(value, GradientTransformation)


Factory: TypeAlias = Annotated[
    Callable[..., Any],
    Kind("a function that makes a transformation, such as optax.adamw", _is_factory),
]


class FactorySettings(dict[str, Any]):
    """The static arguments of a factory, by name: a dict with a hash."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(frozenset(self))


class FactoryArguments(NamedTuple):
    """The arguments of one call by name, the factory's own defaults included."""

    numbers: dict[str, Any]
    settings: FactorySettings


def factory_signature(title: str, factory: Callable[..., Any]) -> inspect.Signature:
    """Return the signature, or raise a TypeError if the factory has none.

    Args:
      title: the name of the caller, which begins the error message.
      factory: the factory.
    """
    try:
        return inspect.signature(factory)
    except ValueError:  # of a builtin
        raise TypeError(
            f"{title}: factory must be a function with a signature, got "
            f"{shown(factory)}; give a function of your own that calls it."
        ) from None


def factory_names(
    title: str,
    argument: str,
    names: str | Iterable[str],
    factory: Callable[..., Any],
) -> frozenset[str]:
    """Return a set of argument names after checking that the factory takes them.

    Args:
      title: the name of the caller, which begins the error message.
      argument: the name of the caller's argument that holds `names`.
      names: the names; a single string is one name.
      factory: the factory. One with `**kwargs` takes any name.

    Raises:
      ValueError: if the factory has no argument of one of the names.
    """
    given = frozenset([names] if isinstance(names, str) else names)
    takes = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        return given
    if unknown := sorted(map(str, given - takes.keys())):
        name = getattr(factory, "__name__", repr(factory))
        raise ValueError(
            f"{title}: {argument} must name arguments of {name}, got "
            f"{', '.join(unknown)}{close_match(unknown[0], takes)}; it has "
            f"{', '.join(takes)}."
        )
    return given


def factory_arguments(
    factory: Callable[..., Any],
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    static: Collection[str],
) -> FactoryArguments:
    """Split the arguments of a call of a factory into numbers and settings.

    Floats, arrays and jopt's schedules are numbers. Integers are numbers, unless the
    factory's default or annotation is an integer. Everything else is a setting,
    which is static.

    Args:
      factory: the factory.
      signature: its signature.
      args: the positional arguments of the call.
      kwargs: the keyword arguments of the call.
      static: names of arguments that are settings whatever their values.

    Raises:
      TypeError: if the arguments do not fit the signature.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(factory, "__name__", repr(factory))
        takes = ", ".join(signature.parameters)
        raise TypeError(f"{name}: {error}; its arguments are {takes}.") from None
    bound.apply_defaults()
    numbers, settings = {}, FactorySettings()
    for name, value in _by_name(bound):
        parameter = signature.parameters.get(name)
        number = name not in static and _is_number(value, parameter)
        (numbers if number else settings)[name] = value
    return FactoryArguments(numbers, settings)


def _by_name(bound: inspect.BoundArguments) -> list[tuple[str, Any]]:
    """List the bound arguments by name, those in `**kwargs` one by one."""
    pairs = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        spread = kind is inspect.Parameter.VAR_KEYWORD
        pairs += value.items() if spread else [(name, value)]
    return pairs


def _is_number(value: Any, parameter: inspect.Parameter | None) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int) and parameter is not None:
        whole = type(parameter.default) is int or parameter.annotation in (int, "int")
        return not whole
    numbers = (int, float, np.ndarray, np.number, jax.Array)
    return isinstance(value, (*numbers, Schedule))
