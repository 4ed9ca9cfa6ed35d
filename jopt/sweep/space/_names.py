"""The distributions of a space, by the names that a user writes."""

from collections.abc import Iterable
from typing import Any, cast

from jopt.sweep.space._choice import Choice
from jopt.sweep.space._ranges import Integers, LogInt, LogUniform, Uniform


def uniform(low: float, high: float) -> Uniform:
    """Draw floats from low to high, all equally likely."""
    return Uniform(low, high)


def log_uniform(low: float, high: float) -> LogUniform:
    """Draw floats from low, above 0, to high, every decade alike."""
    return LogUniform(low, high)


def integers(low: int, high: int) -> Integers:
    """Draw integers from low to high, both included, all equally likely."""
    return Integers(low, high)


def log_int(low: int, high: int) -> LogInt:
    """Draw integers from low, at least 1, to high, both included, on a log axis."""
    return LogInt(low, high)


def choice(values: Iterable[Any]) -> Choice:
    """Draw one of `values`, all equally likely: names, numbers, bools, functions."""
    return Choice(cast(Any, values))  # which makes them a tuple
