"""Distributions of hyperparameters: ranges of numbers and choices."""

import abc
import dataclasses
import math
from collections.abc import Iterable, Mapping, Set
from typing import Any, ClassVar, Generic, SupportsFloat, TypeVar, cast

import jax
import numpy as np

from jopt.core import is_real, named_class
from jopt.sweep._equality import same

Number = TypeVar("Number", int, float)


class Distribution(abc.ABC):
    """Map a number of [0, 1) to a value: subclass it for a distribution of your own."""

    @abc.abstractmethod
    def at(self, u: float) -> Any:
        """Return the quantile at `u`, in [0, 1), as a plain Python value."""

    @abc.abstractmethod
    def clip(self, value: Any) -> Any:
        """Return the possible value that is nearest to `value`, of the right type."""


@dataclasses.dataclass(frozen=True, init=False)
class _Range(Distribution, Generic[Number]):
    """Numbers of one type from `low` to `high`, both included."""

    low: Number
    high: Number

    kind: ClassVar[type] = float
    positive: ClassVar[bool] = False

    def __init__(self, low: SupportsFloat, high: SupportsFloat):
        for name, value in {"low": low, "high": high}.items():
            object.__setattr__(self, name, self._end(name, value))
        if self.low > self.high:
            ends = f"{self.low} and {self.high}"
            raise ValueError(f"{self._title}: low must be at most high, got {ends}.")

    def clip(self, value: float) -> Number:
        if not is_real(value) or math.isnan(value):
            raise ValueError(f"{self._title}: value must be a number, got {value!r}.")
        within = min(max(value, self.low), self.high)
        return cast(Number, round(within) if self.kind is int else float(within))

    @property
    def _title(self) -> str:
        return type(self).__name__

    def _end(self, name: str, value: Any) -> Any:
        if not is_real(value):
            raise TypeError(f"{self._title}: {name} must be a number, got {value!r}.")
        whole = self.kind is int
        # Each condition holds only for values that passed those before it.
        if not _is_finite(value):
            rule = "finite"
        elif self.positive and value <= 0:
            rule = "above 0"
        elif whole and value != int(value):
            rule = "an integer"
        elif whole and abs(int(value)) > 2**53:
            rule = "at most 2**53 in size, beyond which floats skip integers"
        else:
            return self.kind(value)
        raise ValueError(f"{self._title}: {name} must be {rule}, got {value}.")


@named_class
class Uniform(_Range[float]):
    """Draw floats between two ends, all equally likely: `low (1 - u) + high u`.

    Args:
      low: the least value, finite, at most `high`.
      high: the greatest value, finite.

    Raises:
      TypeError: if an end is no real number.
      ValueError: if an end breaks its rule.
    """

    def at(self, u: float) -> float:
        return self.clip(_mix(self.low, self.high, _share(u)))


@named_class
class LogUniform(_Range[float]):
    """Draw floats that are uniform on a log axis: `low^(1 - u) high^u`.

    Args:
      low: the least value, above 0, at most `high`.
      high: the greatest value, finite.

    Raises:
      TypeError: if an end is no real number.
      ValueError: if an end breaks its rule.
    """

    positive = True

    def at(self, u: float) -> float:
        low, high = math.log(self.low), math.log(self.high)
        return self.clip(math.exp(_mix(low, high, _share(u))))


@named_class
class Integers(_Range[int]):
    """Draw integers between two ends, both included, all equally likely.

    Args:
      low: the least value, at most `high`, at most 2^53 in size.
      high: the greatest value, at most 2^53 in size.

    Raises:
      TypeError: if an end is no real number.
      ValueError: if an end breaks its rule.
    """

    kind = int

    def at(self, u: float) -> int:
        count = self.high - self.low + 1
        return self.clip(self.low + math.floor(_share(u) * count))


@named_class
class LogInt(_Range[int]):
    """Draw integers between two ends, both included, on a log axis.

    A log-uniform number between low - 1/2 and high + 1/2 is rounded, so that k is as
    likely as all numbers that are nearest to it, at the ends too:

        p(k) = log((k + 1/2) / (k - 1/2)) / log((high + 1/2) / (low - 1/2))

    Args:
      low: the least value, at least 1, at most `high`.
      high: the greatest value, at most 2^53.

    Raises:
      TypeError: if an end is no real number.
      ValueError: if an end breaks its rule.
    """

    kind = int
    positive = True

    def at(self, u: float) -> int:
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return self.clip(math.floor(math.exp(_mix(low, high, _share(u))) + 0.5))


@named_class
@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Choice(Distribution):
    """Draw one of some values, all equally likely; a repeated value counts repeatedly.

    Args:
      values: names, numbers, bools, tuples, functions or arrays, in an order that is
        kept; at least one. NumPy's numbers become Python's.

    Raises:
      TypeError: if `values` is not a list, or has no order, as a set.
      ValueError: if there are no values.
    """

    values: tuple[Any, ...]

    def __init__(self, values: Iterable[Any]):
        if not is_several(values) or isinstance(values, Set):
            raise TypeError(f"Choice: values must be a list of values, got {values!r}.")
        # An array of keys has no tolist.
        numbers = getattr(values, "ndim", 0) == 1 and hasattr(values, "tolist")
        given = cast(Any, values).tolist() if numbers else values
        held = tuple(v.item() if isinstance(v, np.generic) else v for v in given)
        if not held:
            raise ValueError("Choice: values must not be empty; give at least one.")
        object.__setattr__(self, "values", held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and same(self.values, other.values)

    def __hash__(self) -> int:
        return hash((Choice, len(self.values)))

    def at(self, u: float) -> Any:
        return self.values[math.floor(_share(u) * len(self.values))]

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
        """Return the values before and after a value; at an end, the only neighbour."""
        at = next(i for i, v in enumerate(self.values) if v is self.clip(value))
        near = [i for i in (at - 1, at + 1) if 0 <= i < len(self.values)]
        return [self.values[i] for i in near]


uniform, log_uniform, integers, log_int = Uniform, LogUniform, Integers, LogInt
choice = Choice


def is_several(value: Any) -> bool:
    """Return whether `value` is several values, rather than one that can be iterated.

    A string, a dict, a named tuple, a dataclass, a function, a transformation, an array
    without axes and a key, typed or raw, are one value each.
    """
    single = isinstance(value, (str, bytes, Mapping)) or hasattr(value, "_fields")
    if single or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return False
    if isinstance(value, type):  # an Enum: its members
        return True
    made = dataclasses.is_dataclass(value) or callable(value)
    return not made and not _is_raw_key(value)


def _is_raw_key(value: Any) -> bool:
    """Return whether it is a key of `jax.random.PRNGKey`: an array of words."""
    if not isinstance(value, jax.Array) or value.dtype != np.uint32:
        return False
    return value.shape == jax.eval_shape(lambda: jax.random.PRNGKey(0)).shape


def _share(u: float) -> float:
    if not 0 <= u < 1:
        raise ValueError(f"A distribution's at: u must be in [0, 1), got {u}.")
    return float(u)


def _mix(low: float, high: float, u: float) -> float:
    return low * (1 - u) + high * u


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False
