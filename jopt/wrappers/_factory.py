"""What a factory was called with: its numbers, and the rest."""

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import numpy as np

from jopt.core import GradientTransformation, Kind, Schedule, close_match, shown


def _is_factory(value: Any) -> bool:
    return callable(value) and not isinstance(value, GradientTransformation)


Factory: TypeAlias = Annotated[
    Callable[..., Any],
    Kind("a function that makes a transformation, such as optax.adamw", _is_factory),
]


class Settings(dict[str, Any]):
    """A factory's arguments that are no data, by name: a dict with a hash."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(frozenset(self))


class Arguments(NamedTuple):
    """A call's arguments by name, the factory's own defaults too."""

    numbers: dict[str, Any]
    settings: Settings


def signature_of(title: str, factory: Callable[..., Any]) -> inspect.Signature:
    """Return the signature, or raise a TypeError if the factory tells none."""
    try:
        return inspect.signature(factory)
    except ValueError:  # of a builtin
        raise TypeError(
            f"{title}: factory must be a function that tells its arguments, got "
            f"{shown(factory)}; give a function of your own that calls it."
        ) from None


def named_of(
    title: str,
    argument: str,
    names: str | Iterable[str],
    factory: Callable[..., Any],
) -> frozenset[str]:
    """Return the names, or raise a ValueError if one is no argument's of the factory.

    A single string is one name.
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


def arguments(
    factory: Callable[..., Any],
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fixed: Collection[str],
) -> Arguments:
    """Sort a call's arguments into numbers (jopt's schedules too) and settings.

    Integers are settings where the factory's default or annotation is an integer.
    fixed: names of numbers that are settings.

    Raises a TypeError if they do not fit the signature.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(factory, "__name__", repr(factory))
        takes = ", ".join(signature.parameters)
        raise TypeError(f"{name}: {error}; its arguments are {takes}.") from None
    bound.apply_defaults()
    numbers, settings = {}, Settings()
    for name, value in _flat(bound):
        data = name not in fixed and _is_data(value, signature.parameters.get(name))
        (numbers if data else settings)[name] = value
    return Arguments(numbers, settings)


def _flat(bound: inspect.BoundArguments) -> list[tuple[str, Any]]:
    pairs = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        spread = kind is inspect.Parameter.VAR_KEYWORD
        pairs += value.items() if spread else [(name, value)]
    return pairs


def _is_data(value: Any, parameter: inspect.Parameter | None) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int) and parameter is not None:
        whole = type(parameter.default) is int or parameter.annotation in (int, "int")
        return not whole
    numbers = (int, float, np.ndarray, np.number, jax.Array)
    return isinstance(value, (*numbers, Schedule))
