"""`Choice`: one of some values."""

import dataclasses
import math
from collections.abc import Set
from typing import Any

import numpy as np

from jopt.core import is_real
from jopt.sweep._equality import same
from jopt.sweep.space._distribution import Distribution, is_several, share


@dataclasses.dataclass(frozen=True, eq=False)
class Choice(Distribution):
    """One of some values, all equally likely; one that is listed twice, twice so.

    values: names, numbers, bools, tuples, functions, arrays, in an order that is kept.
    NumPy's numbers become Python's.

    Raises a TypeError in a sentence for what is no list or has no order, as a set, and
    a ValueError where there are no values.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        given: Any = self.values
        if not is_several(given) or isinstance(given, Set):
            raise TypeError(f"Choice: values must be a list of values, got {given!r}.")
        numbers = getattr(given, "ndim", 0) == 1 and hasattr(given, "tolist")
        given = given.tolist() if numbers else given  # an array of keys has none
        values = tuple(v.item() if isinstance(v, np.generic) else v for v in given)
        if not values:
            raise ValueError("Choice: values must not be empty; give at least one.")
        object.__setattr__(self, "values", values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and same(self.values, other.values)

    def __hash__(self) -> int:
        return hash((Choice, len(self.values)))

    def at(self, u: float) -> Any:
        return self.values[math.floor(share(u) * len(self.values))]

    def clip(self, value: Any) -> Any:
        """Return the value itself; of numbers the nearest."""
        for known in self.values:
            if same(known, value):
                return known
        if not all(map(is_real, (value, *self.values))) or math.isnan(value):
            listed = ", ".join(map(repr, self.values))
            raise ValueError(f"Choice: value must be one of {listed}; got {value!r}.")
        return min(self.values, key=lambda known: abs(known - value))

    def beside(self, value: Any) -> list[Any]:
        """Return the values before and after a value; at an end, the one there is."""
        at = next(i for i, v in enumerate(self.values) if v is self.clip(value))
        near = [i for i in (at - 1, at + 1) if 0 <= i < len(self.values)]
        return [self.values[i] for i in near]
