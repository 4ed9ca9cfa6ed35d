"""What a factory was called with: its numbers, and the rest."""

import inspect
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import numpy as np

from jopt.schedules import Schedule


class Settings(dict[str, Any]):
    """A factory's arguments that are no data, by name: a dict with a hash."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(frozenset(self))


class Arguments(NamedTuple):
    """A call's arguments by name, the factory's own defaults too."""

    numbers: dict[str, Any]
    settings: Settings


def arguments(
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
    bound = signature.bind(*args, **kwargs)
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
