"""`Distribution`: what a hyperparameter is drawn from."""

import abc
import numbers
from typing import Any


class Distribution(abc.ABC):
    """Map a number of [0, 1) to a value: subclass it for a distribution of your own."""

    @abc.abstractmethod
    def at(self, u: float) -> Any:
        """Return the quantile at `u`, in [0, 1), as a plain Python value."""

    @abc.abstractmethod
    def clip(self, value: Any) -> Any:
        """Return the possible value that is nearest to `value`, of the right type."""


def share(u: float) -> float:
    """Return `u`; raise a ValueError in a sentence unless it is in [0, 1)."""
    if not 0 <= u < 1:
        raise ValueError(f"A distribution's at: u must be in [0, 1), got {u}.")
    return float(u)


def is_number(value: Any) -> bool:
    """Return whether `value` is one real number, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """Return whether `value` is one integer of Python or NumPy, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
