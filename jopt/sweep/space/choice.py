"""`Choice`: one of some values."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from jopt.sweep.space.distribution import Distribution, is_number, share


@dataclasses.dataclass(frozen=True)
class Choice(Distribution):
    """One of some values, all equally likely; one that is listed twice, twice so.

    values: names, numbers, bools, tuples, functions, in an order that is kept. NumPy's
    numbers become Python's.

    Raises a TypeError in a sentence for what is no list or has no order, as a set, and
    a ValueError where there are no values.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        given: Any = self.values
        given = given.tolist() if hasattr(given, "tolist") else given
        unordered = isinstance(given, (str, bytes, Mapping, Set))
        if unordered or not isinstance(given, Iterable):
            raise TypeError(f"Choice: values must be a list of values, got {given!r}.")
        values = tuple(v.item() if isinstance(v, np.generic) else v for v in given)
        if not values:
            raise ValueError("Choice: values must not be empty; give at least one.")
        object.__setattr__(self, "values", values)

    def at(self, u: float) -> Any:
        return self.values[math.floor(share(u) * len(self.values))]

    def clip(self, value: Any) -> Any:
        """Return the value itself; of numbers the nearest."""
        for known in self.values:
            if known is value or (type(known) is type(value) and known == value):
                return known
        if not all(map(is_number, (value, *self.values))) or math.isnan(value):
            listed = ", ".join(map(repr, self.values))
            raise ValueError(f"Choice: value must be one of {listed}; got {value!r}.")
        return min(self.values, key=lambda known: abs(known - value))
