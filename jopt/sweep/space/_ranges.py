"""Ranges: floats and integers between two ends, on a linear or a log axis."""

import dataclasses
import math
from typing import Any, ClassVar

from jopt.core import is_real
from jopt.sweep.space._distribution import Distribution, share


@dataclasses.dataclass(frozen=True)
class _Range(Distribution):
    """Numbers of a kind from `low` to `high`, both included.

    Raises a TypeError or a ValueError in a sentence for ends that are no such numbers.
    """

    low: Any
    high: Any

    kind: ClassVar[type] = float
    positive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, self._end(name, getattr(self, name)))
        if self.low > self.high:
            ends = f"{self.low} and {self.high}"
            raise ValueError(f"{self._title}: low must be at most high, got {ends}.")

    def clip(self, value: float) -> Any:
        if not is_real(value) or math.isnan(value):
            raise ValueError(f"{self._title}: value must be a number, got {value!r}.")
        within = min(max(value, self.low), self.high)
        return round(within) if self.kind is int else float(within)

    @property
    def _title(self) -> str:
        return type(self).__name__

    def _end(self, name: str, value: Any) -> Any:
        if not is_real(value):
            raise TypeError(f"{self._title}: {name} must be a number, got {value!r}.")
        whole = self.kind is int
        # In this order, each asked only if the one before is kept.
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


class Uniform(_Range):
    """Floats between two ends, all equally likely: `low (1 - u) + high u`."""

    def at(self, u: float) -> float:
        return self.clip(_mix(self.low, self.high, share(u)))


class LogUniform(_Range):
    """Floats between two ends above 0, every decade alike: `low^(1 - u) high^u`."""

    positive = True

    def at(self, u: float) -> float:
        low, high = math.log(self.low), math.log(self.high)
        return self.clip(math.exp(_mix(low, high, share(u))))


class Integers(_Range):
    """Integers between two ends, both included, all equally likely."""

    kind = int

    def at(self, u: float) -> int:
        count = self.high - self.low + 1
        return self.clip(self.low + math.floor(share(u) * count))


class LogInt(_Range):
    """Integers between two ends of at least 1, both included, on a log axis.

    What is log-uniform between low - 1/2 and high + 1/2 is rounded: k is as likely as
    all that is nearest to it, at the ends too,

        p(k) = log((k + 1/2) / (k - 1/2)) / log((high + 1/2) / (low - 1/2))
    """

    kind = int
    positive = True

    def at(self, u: float) -> int:
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return self.clip(math.floor(math.exp(_mix(low, high, share(u))) + 0.5))


def _mix(low: float, high: float, u: float) -> float:
    return low * (1 - u) + high * u


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False
