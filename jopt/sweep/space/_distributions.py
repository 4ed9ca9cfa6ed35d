"""Distributions of hyperparameters: ranges of numbers."""

import abc
import dataclasses
import math
from typing import Any, ClassVar, Generic, SupportsFloat, TypeVar, cast

from jopt.core import is_real, named_class

Number = TypeVar("Number", int, float)


class Distribution(abc.ABC):
    """Map a number of [0, 1) to a value; subclass it for a new distribution."""

    @abc.abstractmethod
    def at(self, u: float) -> Any:
        """Return the quantile at `u`, in [0, 1), as a plain Python value."""

    @abc.abstractmethod
    def clip(self, value: Any) -> Any:
        """Return the possible value nearest to `value`, of the right type."""


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
        # Each check relies on the checks before it.
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
      TypeError: if an end is not a real number.
      ValueError: if an end breaks its rule.
    """

    def at(self, u: float) -> float:
        return self.clip(_mix(self.low, self.high, share_in(u)))


@named_class
class LogUniform(_Range[float]):
    """Draw floats that are uniform on a log axis: `low^(1 - u) high^u`.

    Args:
      low: the least value, above 0, at most `high`.
      high: the greatest value, finite.

    Raises:
      TypeError: if an end is not a real number.
      ValueError: if an end breaks its rule.
    """

    positive = True

    def at(self, u: float) -> float:
        low, high = math.log(self.low), math.log(self.high)
        return self.clip(math.exp(_mix(low, high, share_in(u))))


@named_class
class Integers(_Range[int]):
    """Draw integers between two ends, both included, all equally likely.

    Args:
      low: the least value, at most `high`, at most 2^53 in size.
      high: the greatest value, at most 2^53 in size.

    Raises:
      TypeError: if an end is not a real number.
      ValueError: if an end breaks its rule.
    """

    kind = int

    def at(self, u: float) -> int:
        count = self.high - self.low + 1
        return self.clip(self.low + math.floor(share_in(u) * count))


@named_class
class LogInt(_Range[int]):
    """Draw integers between two ends, both included, on a log axis.

    A log-uniform number between low - 1/2 and high + 1/2 is rounded. So the probability
    of k is that of all numbers that round to it, at the ends too:

        p(k) = log((k + 1/2) / (k - 1/2)) / log((high + 1/2) / (low - 1/2))

    Args:
      low: the least value, at least 1, at most `high`.
      high: the greatest value, at most 2^53.

    Raises:
      TypeError: if an end is not a real number.
      ValueError: if an end breaks its rule.
    """

    kind = int
    positive = True

    def at(self, u: float) -> int:
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return self.clip(math.floor(math.exp(_mix(low, high, share_in(u))) + 0.5))


uniform, log_uniform, integers, log_int = Uniform, LogUniform, Integers, LogInt


def share_in(u: float) -> float:
    """Return a number of [0, 1), or raise ValueError."""
    if not 0 <= u < 1:
        raise ValueError(f"A distribution's at: u must be in [0, 1), got {u}.")
    return float(u)


def _mix(low: float, high: float, u: float) -> float:
    return low * (1 - u) + high * u


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False
